"""The layout sweep: one case with the same values in many layouts, and the rule that says in which of them a solver faults."""
