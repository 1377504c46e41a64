"""A run folder -> ``index.html``, ``results.parquet`` and ``results.csv`` in it. Needs nothing but the folder."""
