# `make help` lists the targets.

PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
DEMO_RUN := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help demo test lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-run ## meta-train MAML-TRPO on 2D navigation, show the adaptation curve
	$(BIN)/metarl train configs/point_navigation/demo.yaml --output $(DEMO_RUN)
	$(BIN)/metarl evaluate $(DEMO_RUN)

test: $(VENV)/.installed-test ## run the test suite; PYTEST_ARGS="-k config" selects
	$(BIN)/python -m pytest -n 2 tests $(PYTEST_ARGS)

lint: $(VENV)/.installed-test ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean: ## remove the virtual environment, builds and caches; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than what they were installed from, so nothing is installed twice.
$(VENV)/.installed-run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing metarl and its dependencies into $(VENV) (a few minutes)"
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing metarl, its dependencies and the test tools into $(VENV) (a few minutes)"
	$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.installed-run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "metarl needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	         "Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
