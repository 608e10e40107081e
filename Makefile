# `make help` lists what there is. Everything runs from .venv, which `make setup` builds from requirements.lock.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Test processes side by side; each trains small models on one thread.
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo up test lint bench soak lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

setup: $(READY)  ## build .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python %d.%d is too old: 3.11 or newer is needed. Name one with: make setup PYTHON=python3.12" % v[:2])'
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu, python3 -m venv needs: apt-get install python3-venv"; exit 1; }; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Installing from requirements.lock (about 5 GB with CUDA, once) ..."
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes --compile-bytecode -r requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)
	@echo "Ready."

demo: $(READY)  ## four experts and their fusion, trained through the API
	@$(BIN)/mcn demo

up: $(READY)  ## the service, nothing submitted
	@$(BIN)/mcn up

test: $(READY)  ## every test
	@$(BIN)/python -m tests.machine
	@$(BIN)/python -m pytest -n $(JOBS)

lint: $(READY)  ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(READY)  ## the benchmarks, as tables of ratios measured side by side
	@$(BIN)/python -m tests.benchmarks

soak: $(READY)  ## the long repetitions that `make test` runs a few of
	@$(BIN)/python -m pytest -n $(JOBS) -m soak
	@MCN_SOAK=1 $(BIN)/python -m pytest tests/app/test_schema.py

lock: $(READY)  ## compile requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

clean:  ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
