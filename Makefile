# Everything a person runs here. Each target makes the environment itself; nothing else has to be set up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format typecheck eval-blink eval-gemma compare-results bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

setup: $(READY) ## make the virtual environment in .venv with the tested versions

demo: $(READY) ## simulate, train, evaluate and report at tiny size, into demo/
	$(BIN)/theworld demo

test: $(READY) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest

check: $(READY) ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

format: $(READY) ## put the code in shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typecheck: $(READY) ## types alone
	$(BIN)/basedpyright

CHECKPOINT ?= tiny-foresight
eval-blink: $(READY) ## ask BLINK: CHECKPOINT=a saved TheWorld, FLAGS=more flags
	$(BIN)/theworld evaluate --checkpoint $(CHECKPOINT) --output-dir runs/blink --data.dataset blink \
	  --max-new-tokens 1024 $(FLAGS)

eval-gemma: $(READY) ## ask BLINK without what was trained: Gemma alone, the checkpoint's base
	$(BIN)/theworld evaluate --checkpoint $(CHECKPOINT) --output-dir runs/blink-gemma --arms gemma --data.dataset blink \
	  --max-new-tokens 1024 $(FLAGS)

compare-results: $(READY) ## hold FILES="a.jsonl b.jsonl" of predictions against each other
	$(BIN)/theworld compare $(FILES)

bench: $(READY) ## one JSON line per figure, with its goal
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

clean: ## remove the environment, caches and runs
	rm -rf $(VENV) demo runs build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
