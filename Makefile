# Everything a person runs here. Each target makes the environment itself; nothing else has to be set up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LMMS_EVAL := .venv-lmms-eval

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-avx2 smoke-test train-simple train-hf check format typecheck eval-blink eval-gemma compare-results bench pages docs lmms-eval-test build release-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $(READY)

setup: $(READY) ## make the virtual environment in .venv with the tested versions

demo: $(READY) ## simulate, train, evaluate and report at tiny size, into demo/
	$(BIN)/theworld demo

run: $(READY) ## ask about three scenes with the embedded model, into runs/inference/
	$(BIN)/python examples/inference.py

# Two processes, each with whole files of tests: what a file sets up is set up once.
test: $(READY) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 20

# torch and oneDNN leave newer instructions alone, and `auto` computes in float32.
test-avx2: $(READY) ## run the demo's, notebook's and trainings' tests as on a processor with AVX2 alone
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 DNNL_MAX_CPU_ISA=AVX2 $(BIN)/pytest --numprocesses 2 --dist loadfile --durations 5 \
	  tests/end_to_end/test_demo.py tests/end_to_end/test_examples.py tests/unit/training/test_run.py tests/unit/experiments/arms/test_arms_run.py

smoke-test: $(READY) ## two samples through load, train, checkpoint, resume and reload, at tiny size
	$(BIN)/python examples/smoke_test.py

train-simple: $(READY) ## train in a short program of one's own, at tiny size
	$(BIN)/python examples/simple_training.py

CONFIG ?= configs/foresight-tiny.json
train-hf: $(READY) ## train on transformers' Trainer: CONFIG=a settings file, FLAGS=more flags
	$(BIN)/theworld train $(CONFIG) $(FLAGS)

check: $(READY) ## lint, formatting, types and prose
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/python tests/contracts/test_prose.py

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

pages: $(READY) ## write what README and docs show of runs: the scene, the tables of arms
	$(BIN)/python -m pages

docs: $(READY) ## build the documentation site into site/; a broken link fails
	$(BIN)/zensical build --strict

# lmms-eval pins wandb 0.25.0, which wants protobuf below 7, and av below 16; all else is as in constraints.txt.
$(LMMS_EVAL)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LMMS_EVAL)
	$(LMMS_EVAL)/bin/pip install --quiet --upgrade pip
	grep -vE '^(av|protobuf|wandb)==' constraints.txt > $(LMMS_EVAL)/constraints.txt
	$(LMMS_EVAL)/bin/pip install --quiet --constraint $(LMMS_EVAL)/constraints.txt --editable '.[dev,lmms-eval]'
	touch $(LMMS_EVAL)/.ready

lmms-eval-test: $(LMMS_EVAL)/.ready ## run lmms-eval itself on the tiny model, in an environment of its own (7 GB)
	OMP_NUM_THREADS=1 $(LMMS_EVAL)/bin/pytest tests/end_to_end/test_lmms_eval_run.py tests/unit/evaluation/lmms_eval_plugin

build: $(READY) ## a wheel and a source archive, in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

release-check: build ## run the wheel's demo in an empty environment, outside of the repository (6 GB)
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	"$$folder/venv/bin/pip" install --quiet --constraint constraints.txt dist/*.whl; \
	cd "$$folder"; venv/bin/theworld --version; venv/bin/theworld demo

clean: ## remove the environments, caches and runs
	rm -rf $(VENV) $(LMMS_EVAL) demo runs site .cache build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
