"""The op ladder: every Lie-group operation of a library, rung by rung, against float64, in processes that may die."""
