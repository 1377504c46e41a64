"""Which commit broke it: ``git bisect`` driven by replays of one case, with evidence weighed instead of believed."""
