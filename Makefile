# Everything starts here: `make demo` and `make test` do all their own set-up.
# They need Python 3.11 or newer, make, and a package registry.

PYTHON ?= python3
HOME_DIR := .domicile
BIN := .venv/bin
LOCK := requirements/dev.lock
STAMP := .venv/.installed

.PHONY: help demo serve test crash-nightly residency-nightly gate-nightly check models lock image-check clean

help:           ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# The environment, exactly as locked. torch comes last and apart: it alone has builds for CPUs and for GPUs under one
# version, and which of them fits is the machine's affair: pip takes it from wherever pip is configured to look. With a
# CPU build the lock holds all that it needs; a GPU build brings its own libraries.
$(STAMP): $(LOCK) requirements/tools.lock requirements/torch.txt pyproject.toml
	@echo "== environment (first time: a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "domicile needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

models: $(STAMP)    ## build and verify the model artefacts
	@$(BIN)/domicile --home $(HOME_DIR) models build

demo: models    ## from nothing to three answered questions
	@$(BIN)/python examples/demo.py --home $(HOME_DIR)

serve: models   ## serve the demo's collections on http://127.0.0.1:8000/v1
	@$(BIN)/domicile --home $(HOME_DIR) serve

check: $(STAMP) ## lint, types and architecture
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: check models  ## everything that CI runs
	@$(BIN)/python -m pytest

FAULTS ?= 50
crash-nightly: models   ## the fault suites at length: 5,000 kills, 10,000 damaged files, every operation (FAULTS=50)
	@DOMICILE_FAULTS=$(FAULTS) $(BIN)/python -m pytest tests/crash

residency-nightly: models   ## the residency suites at length: 2,000 conversations, 10,000 canaries, 10,000 examples of each invariant
	@DOMICILE_CONVERSATIONS=2000 DOMICILE_CANARIES=10000 DOMICILE_EXAMPLES=10000 $(BIN)/python -m pytest tests/property tests/integration/test_conversations.py

gate-nightly: models    ## the gate's false alarms at length: 1,000 comparisons of equal sides
	@DOMICILE_COMPARISONS=1000 $(BIN)/python -m pytest tests/gate/test_false_alarms.py

# UV_FIND_LINKS names a folder with a CPU build of torch, where there is one; without it torch's CUDA packages would be locked
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-package torch
lock:           ## resolve the dependencies anew into requirements/*.lock
	$(COMPILE) requirements/tools.in -o requirements/tools.lock
	$(COMPILE) --all-extras pyproject.toml -o $(LOCK)
	$(COMPILE) --constraint $(LOCK) --extra build pyproject.toml -o requirements/build.lock
	$(COMPILE) --constraint $(LOCK) pyproject.toml -o requirements/runtime.lock
	$(COMPILE) --constraint $(LOCK) --extra hosted pyproject.toml -o requirements/hosted.lock

image-check: $(STAMP)   ## build the container image for real, without a container engine (needs root and apt)
	@deploy/image-check

clean:          ## remove the environment and the demo's home
	rm -rf .venv .domicile
