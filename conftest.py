"""Makes ``pytest cases/`` work: see harness/pytest_plugin.py."""

pytest_plugins = ["harness.pytest_plugin"]
