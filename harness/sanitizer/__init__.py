"""Sanitizers as tools of ``replay``: found, started with every default set, read back, and judged by more than an exit code."""
