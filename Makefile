# make repro: set up, replay every shipped case through every solver, write reports/latest/index.html
# make test:  set up, lint, run the tests but for the slow ones, which make test-slow runs
# Windows has no make: scripts/repro.ps1 does the same, and a test holds the two equal.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: repro test test-slow lint bench report clean

repro: $(VENV)/.ready
	$(RUN) -m harness repro --out reports

test: lint
	$(RUN) -m pytest tests cases -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/.ready-test
	$(RUN) -m pytest tests -n 2 --dist worksteal -m slow

lint: $(VENV)/.ready-test
	$(RUN) tests/lint.py

bench: $(VENV)/.ready-test
	$(RUN) benchmarks/isolation.py

report: $(VENV)/.ready
	$(RUN) -m harness report reports/latest

clean:
	rm -rf $(VENV) reports/*/ .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e . && touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[test]' && touch $@
