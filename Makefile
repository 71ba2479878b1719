# make demo    install into .venv and run the demonstration
# make test    install with the development tools and run the suite
# make lint    formatting, lint and types
# make docs    write docs/cli.md, docs/settings.md and docs/features.md anew
# make clean   remove caches and builds (make distclean: .venv too)

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# An index with CPU builds of torch; empty takes what pip finds by itself.
TORCH_INDEX_URL ?=
TORCH := $(shell grep -E '^torch(vision)?==' constraints.txt)
BIN := $(VENV)/bin

.PHONY: demo test lint docs clean distclean

demo: $(VENV)/.installed
	$(BIN)/kindred demo $(ARGS)

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/python -m kindred.api.cli.reference > docs/cli.md
	$(BIN)/python -m kindred.api.settings_text > docs/settings.md
	$(BIN)/python -m kindred.api.feature_text > docs/features.md

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kindred needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
ifneq ($(TORCH_INDEX_URL),)
	$(BIN)/python -m pip install --index-url $(TORCH_INDEX_URL) $(TORCH)
endif
	$(BIN)/python -m pip install -e . -c constraints.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -e ".[dev]" -c constraints.txt
	@touch $@

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find kindred tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
