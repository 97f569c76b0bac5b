# `make demo` and `make test` do all the set-up. They need Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# PyTorch's CPU build, because PyPI's build for Linux depends on gigabytes of CUDA. If pip finds no CPU build: make sb3 TORCH=torch
TORCH ?= torch==2.13.0+cpu

.PHONY: demo test sb3 check docs everything clean

demo: $(VENV)/demo-installed  ## Learn a residual on SlipperyPush and end with the verdict and a report.
	$(BIN)/residual-rl train slippery-push

test: $(VENV)/test-installed  ## Run the whole test suite.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

sb3: $(VENV)/sb3-installed  ## Install Stable-Baselines3; without it a few tests are skipped.

check: $(VENV)/dev-installed  ## Format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

docs: $(VENV)/docs-installed  ## Build the site into site/; a dead link or a missing page is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

everything: $(BIN)/python  ## Install all that test, check and docs need, in one go; without a CPU build of PyTorch, all but sb3.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs,sb3]' '$(TORCH)' build || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]' build
	@touch $(VENV)/test-installed $(VENV)/docs-installed $(VENV)/dev-installed

clean:  ## Remove the Python environment; keep the runs.
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
	  { echo "residual-rl needs Python 3.11 to 3.14, and $(PYTHON) is $$($(PYTHON) --version): make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/demo-installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[report,tasks]'
	@touch $@

$(VENV)/test-installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/sb3-installed: $(VENV)/test-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,sb3]'
	@touch $@

$(VENV)/docs-installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

$(VENV)/dev-installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
