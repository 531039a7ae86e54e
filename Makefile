# `make demo` and `make test` need Python 3.11 to 3.13 with pip; whatever else they use, they install under .venv.
# Another interpreter: make demo PYTHON=python3.12

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
export PIP_PROGRESS_BAR := off
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help demo test test-retraining fuzz bench bench-defenses bench-detection-cost bench-retraining drill soak lint types check-protos services format protos constraints clean

help:  ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r target does; do \
	  printf 'make %-14s %s\n' "$$target" "$$does"; \
	done

## Running it

demo: $(VENV)/.demo  ## see the proxy protect a real model on real data
	@$(BIN)/tensorwall demo --cache build/demo

## Checking it

# Several tests run at once, on as many cores as there are: libraries that each take all of them only hinder each other.
test test-retraining: export OMP_NUM_THREADS := 1
test test-retraining: export TF_NUM_INTRAOP_THREADS := 1

test: lint types check-protos services  ## everything that must hold before a change lands
	@$(BIN)/pytest -q -rs --numprocesses 3 --dist loadfile $(addprefix --ignore=,$(filter-out $(CHAIN),$(RETRAINING)))

CHAIN := tests/retrain/test_chain.py
RETRAINING := tests/defenses/retraining tests/quarantine $(wildcard tests/retrain/test_*.py)

test-retraining: $(VENV)/.dev  ## the tests of retraining, some minutes more; make test has that of the whole chain alone
	@$(BIN)/pytest -q -rs --numprocesses 3 --dist loadfile $(RETRAINING)

fuzz: $(VENV)/.dev  ## 100,000 mutated inputs for whatever reads others' bytes; FUZZ="--inputs N --target NAME" for others (about an hour)
	@nice -n 15 $(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(VENV)/.dev  ## formatter (check only), linter, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --quiet .
	@mkdir -p build && { $(BIN)/lint-imports --no-cache --no-logo >build/imports.log || { cat build/imports.log; exit 1; }; }
	@echo "format, lint and import contracts: ok"

types: $(VENV)/.dev  ## strict types
	@$(BIN)/mypy --no-error-summary --no-color-output
	@echo "types: ok"

check-protos: $(VENV)/.dev
	@rm -rf build/protos-check && mkdir -p build/protos-check
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=build/protos-check --pyi_out=build/protos-check protos/*.proto
	@for made in build/protos-check/protos/*; do \
	  cmp -s "$$made" "protos/$${made##*/}" || { echo "protos/$${made##*/} is out of date: run make protos"; exit 1; }; \
	done
	@echo "generated messages: ok"

services:
	@sh tests/services.sh

bench: $(VENV)/.dev  ## throughput, latency, CPU time and memory beside Envoy and a bare pass-through (about 40 minutes; QUICK=1: 10; RESUME=1 keeps the payloads that an ended run had done)
	@$(BIN)/python -m benchmarks.throughput --report docs/performance.md --plot docs/bench.png \
	  $(if $(QUICK),--turns 3 --seconds 1 --loads 0.5) $(if $(RESUME),--resume)
	@for part in path threads copies; do $(BIN)/python -m benchmarks.throughput.$$part --report docs/performance.md || exit; done

bench-defenses: $(VENV)/.dev  ## what each defense is worth against which attack, through a running proxy (about 30 minutes)
	@$(BIN)/python -m benchmarks.defenses

drill: $(VENV)/.dev  ## attack proxies in front of real models: what is found, what attackers get, who is wrongly acted on
	@$(BIN)/python -m benchmarks.drill --plot docs/drill.png

bench-detection-cost: $(VENV)/.dev  ## calls a second and CPU time with detection off, in shadow and enforced, and memory (about 15 minutes)
	@$(BIN)/python -m benchmarks.detection_cost
	@$(BIN)/python -m benchmarks.detection_cost.memory

bench-retraining: $(VENV)/.dev  ## train by every method for half an hour each, and attack them; goes on where it was (about 6 hours)
	@$(BIN)/python -m benchmarks.retraining

soak: $(VENV)/.dev  ## an hour of load, cancellations and attack: memory, files, tasks and latency must stay flat (SECONDS=3600)
	@$(BIN)/python -m benchmarks.soak --seconds $(or $(SECONDS),3600)

## Changing it

format: $(VENV)/.dev  ## format the code and repair what the linter can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

protos: $(VENV)/.dev  ## generate the messages' code anew from protos/*.proto
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. protos/*.proto

constraints:  ## write constraints.txt anew from the newest versions that pyproject.toml allows
	@$(MAKE) --no-print-directory VENV=build/newest build/newest/.made
	@build/newest/bin/python -m pip --quiet install --upgrade setuptools '.[dev]'
	@sed -n '/^#/p' constraints.txt >build/constraints.txt
	@build/newest/bin/python -m pip --quiet freeze --all --exclude tensorwall --exclude pip >>build/constraints.txt
	@mv build/constraints.txt constraints.txt

clean:  ## remove caches and everything under build/ (the environment is .venv: rm -r .venv)
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name .venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

## The environment: one, with the demo's needs or the tests'

# TensorFlow publishes wheels for CPython 3.11 to 3.13 and none newer yet.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
WANTED := tensorwall needs Python 3.11, 3.12 or 3.13 (TensorFlow has no wheels for others);

$(VENV)/.made:
	@mkdir -p build
	@for name in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if $$name -c '$(FITS)' 2>/dev/null; then python=$$name; break; fi; \
	  tried="$$tried $$name ($$($$name -V 2>/dev/null || echo 'does not run'))"; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "$(WANTED) tried:$$tried. Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Making the environment in $(VENV) with $$($$python -V)"; \
	if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	  $$python -m venv --clear $(VENV); \
	else \
	  $$python -m pip --quiet --disable-pip-version-check install --upgrade --target build/bootstrap virtualenv && \
	  PYTHONPATH=build/bootstrap $$python -m virtualenv --quiet --clear $(VENV); \
	fi || { \
	  echo "No environment could be made with $$python: see above. On Debian and Ubuntu this helps:" \
	    "apt-get install python3-venv python3-pip" >&2; exit 1; \
	}
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the demo's needs (TensorFlow is large: some minutes the first time)"
	@$(PIP) install --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing what the tests need (TensorFlow is large: some minutes the first time)"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $(VENV)/.demo $@
