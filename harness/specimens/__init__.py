"""Specimens: known-bad solvers whose faults must be found and named: they show what a finding means and looks like."""

from harness.specimens.look import Found, Look, Row, looks, run
from harness.specimens.table import read_table

__all__ = ["Found", "Look", "Row", "looks", "read_table", "run"]
