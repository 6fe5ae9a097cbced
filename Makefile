# Every target that needs the environment makes it first; `make setup` skips what is done.
# ARGS passes more arguments to the command behind a target: make test ARGS="-k order".

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-long test test-all test-ranks test-faults check bench \
	prep extract train export recipe locks clean

BIN := .venv/bin
# The Python that .venv was made with, once there is one: another would make it anew.
ifndef PYTHON
PYTHON := $(shell $(BIN)/python -c 'import sys; print(sys._base_executable)' 2>/dev/null || \
  command -v python3.11 || command -v python3.12 || command -v python3)
endif
NP ?= 2
RECIPE ?=
BENCH ?= $(patsubst bench/%.py,%,$(filter-out bench/_% bench/quality.py,$(wildcard bench/*.py)))
ARGS ?=

# Hides TensorFlow's start-up notes; its warnings and errors stay.
export TF_CPP_MIN_LOG_LEVEL ?= 1

# Test files run side by side in so many processes; each may start ranks and workers of its own.
TEST_PROCESSES ?= 2

# A hanging test ends after `timeout` in pyproject.toml; these bound the whole run, in seconds.
FAST_LIMIT_S := 1800
FULL_LIMIT_S := 7200

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv: pinned packages, Horovod, data (once 5 to 10 minutes, then seconds)
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	  2>/dev/null || { echo "error: make setup needs Python 3.11 or 3.12, not '$(PYTHON)'" \
	  "($$("$(PYTHON)" -V 2>&1 | head -n 1)); run: make setup PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }
	@"$(PYTHON)" -m launch.install

demo: setup  ## distil a student end to end on real text, in minutes
	@$(BIN)/python -m launch.demo $(ARGS)

demo-long: setup  ## the demo at a larger size, for a better student
	@$(BIN)/python -m launch.demo --long $(ARGS)

test: setup  ## run the fast tests
	@$(BIN)/python -m pytest -m "not slow" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --session-timeout=$(FAST_LIMIT_S) $(ARGS)

test-all: setup  ## run every test, the slow ones too
	@$(BIN)/python -m pytest --session-timeout=$(FULL_LIMIT_S) $(ARGS)

test-ranks: setup  ## run the tests that start several ranks
	@$(BIN)/python -m pytest -m ranks --session-timeout=$(FULL_LIMIT_S) $(ARGS)

test-faults: setup  ## run the tests that kill processes and damage files
	@$(BIN)/python -m pytest -m faults --session-timeout=$(FULL_LIMIT_S) $(ARGS)

check: setup  ## lint, formatting, types, import arrows, then the fast tests
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: setup  ## run the benchmarks, or one: make bench BENCH=extract ARGS="--help"
	@for name in $(BENCH); do echo "== bench.$$name"; $(BIN)/python -m "bench.$$name" $(ARGS); done

prep: setup  ## text to examples: make prep ARGS="wikipedia --help"
	@set -- $(ARGS); verb="$${1:?say which step: make prep ARGS=\"wikipedia --help\"}"; shift; \
	  $(BIN)/python -m "beam_pipelines.$$verb" "$$@"

extract: setup  ## teacher signals beside the examples: make extract ARGS="run --help"
	@$(BIN)/python -m extract $(ARGS)

train: recipe-given setup  ## distil a student: make train NP=2 RECIPE=recipes/NAME.yaml ARGS="--run-dir runs/NAME"
	@$(BIN)/python -m launch run -np $(NP) -- python -m train run $(RECIPE) $(ARGS)

.PHONY: recipe-given
recipe-given:
	@test -n "$(RECIPE)" || \
	  { echo "error: say which recipe: make train RECIPE=recipes/NAME.yaml" >&2; exit 2; }

export: setup  ## a finished student as standard files: make export ARGS="--help"
	@$(BIN)/python -m train export $(ARGS)

# Only a NAME of the command line counts: some systems have one in the environment.
recipe: setup  ## a published method beside its baseline: make recipe NAME=minilm_v2; no NAME lists them
	@$(BIN)/python -m launch.recipes $(if $(findstring command,$(origin NAME)),$(NAME)) $(ARGS)

locks:  ## resolve requirements/*.in into *.lock again (needs uv and a network)
	@"$(PYTHON)" -m launch.locks

clean:  ## remove .venv and the tools' caches; cached wheels and data stay in ~/.cache/limbeck
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
