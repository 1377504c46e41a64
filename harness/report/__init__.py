"""A run folder -> ``index.html``, ``results.parquet`` and ``results.csv`` in it. Needs nothing but the folder."""

from __future__ import annotations

from harness.report.write import write_report

__all__ = ["write_report"]
