"""Find out why a SLAM tracker's pose solver died: record, replay in isolation, compare, report."""
