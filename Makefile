# Every target sets up what it needs: Python >= 3.11, make and a package registry are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TIDEGATE_SHARED_DATA ?= $(abspath ../shared/data)
export TIDEGATE_SHARED_DATA
# The tests start tidegate hundreds of times: let Python keep what it has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run setup test lint format types check bench lock lowest clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tidegate needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another with: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --only-binary :all: --requirement requirements-build.lock
	$(PIP) --require-hashes --no-build-isolation --use-pep517 --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

setup: $(STAMP)  ## create .venv from the hash-pinned lock

run: $(STAMP)  ## trade the demo strategy on the embedded paper venue for a minute
	$(BIN)/tidegate demo

test: $(STAMP)  ## run every test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(STAMP)  ## check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/hadolint Dockerfile

format: $(STAMP)  ## rewrite to the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy

check: test lint types  ## what CI runs

bench: $(STAMP)  ## measure against the budgets
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.feeds
	$(BIN)/python -m benchmarks.backtest
	$(BIN)/python -m benchmarks.signal_storm
	$(BIN)/python -m benchmarks.training_latency
	$(BIN)/python -m benchmarks.control

COMPILE = uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11
SUBSET = $(COMPILE) --no-annotate --constraint requirements.lock

lock:  ## refresh the three locks (needs uv): all, what the image runs, what builds the wheel
	$(COMPILE) --all-extras --group dev pyproject.toml --output-file requirements.lock
	$(SUBSET) --extra examples pyproject.toml --output-file requirements-run.lock
	$(SUBSET) --group build --output-file requirements-build.lock

lowest:  ## run the tests on the oldest versions that pyproject.toml allows (needs uv)
	mkdir -p build
	uv pip compile --quiet --resolution lowest-direct --all-extras --group dev pyproject.toml --output-file build/lowest.txt
	$(PYTHON) -m venv --clear build/lowest
	build/lowest/bin/python -m pip install --quiet --requirement build/lowest.txt
	build/lowest/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	build/lowest/bin/python -m pytest -n 2 --dist loadgroup

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
