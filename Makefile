# `make help` lists the targets. Everything runs from .venv, which `make setup` builds from requirements.lock.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Number of test processes; each trains small models on one thread.
JOBS   ?= 2
# Rounds of each fault, and the names of the faults to run; all if there are none.
SEEDS  ?= 20
ONLY   ?=
# A long run in place of the rounds: --soak 10, --freezes or --outages 60.
RUN    ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-fast coverage lint format docs pictures bench soak faults docker-test lock vendor clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13

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

demo: $(READY)  ## train experts and their fusion through the API, and print what fusion brought
	@$(BIN)/mcn demo

up: $(READY)  ## start the service, with nothing submitted
	@$(BIN)/mcn up

test: $(READY)  ## run every test
	@$(BIN)/python -m tests.machine
	@$(BIN)/python -m pytest -n $(JOBS) --maxfail 20

test-fast: $(READY)  ## run the tests that start no process (under 90 s)
	@$(BIN)/python -m pytest -n $(JOBS) -m "not processes and not slow and not soak and not gpu"

coverage: $(READY)  ## run every test and measure coverage, in child processes too
	@$(BIN)/python -m tests.machine
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(JOBS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(READY)  ## check style, types, import rules and generated pages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m docs.generate --check

format: $(READY)  ## format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(READY)  ## write the parts of the documentation that come from the code
	@$(BIN)/python -m docs.generate

pictures: $(READY)  ## take the pictures of the README from the demo's jobs
	@mkdir -p docs/images
	@MCN_TAKE_PICTURES=1 $(BIN)/python -m pytest tests/web/browser/test_pictures.py

bench: $(READY)  ## run the benchmarks; each prints ratios measured side by side
	@$(BIN)/python -m tests.benchmarks

soak: $(READY)  ## run the long repetitions of which `make test` runs a few
	@$(BIN)/python -m pytest -n $(JOBS) -m soak
	@MCN_SOAK=1 $(BIN)/python -m pytest tests/app/test_schema.py tests/app/test_request_sequences.py

faults: $(READY)  ## cause every fault with many seeds while clients use the service (SEEDS=5 ONLY="api-killed redis-killed", or RUN="--soak 10")
	@$(BIN)/python -m tests.machine
	@$(BIN)/python -m tests.faults --seeds $(SEEDS) $(RUN) $(ONLY)

docker-test: $(READY)  ## build the image, and start, kill, upgrade and restore containers
	@$(BIN)/python -m pytest -x -m docker tests/docker

lock: $(READY)  ## compile requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

vendor: $(READY)  ## fetch the files of other projects that the dashboard serves (needs npm)
	@$(BIN)/python -m app.web.vendor

clean:  ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .coverage.* *.egg-info
