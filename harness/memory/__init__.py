"""Memory modes: where a child's tensors lie, what is found to have been touched beside them, and how that is told."""
