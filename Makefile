PYTHON ?= python3
PYTEST_OPTIONS ?=
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: install ablation test lint

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@echo "installing into $(VENV) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check \
	    --constraint constraints.txt --editable '.[test]'
	@touch $@

ablation: $(STAMP)
	@$(VENV)/bin/python launch/slurm.py --gin gin/ablations/quickstart.gin --executor local --wait

test: $(STAMP) lint
	@$(VENV)/bin/python -m pytest $(PYTEST_OPTIONS)

lint: $(STAMP)
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy --no-error-summary
