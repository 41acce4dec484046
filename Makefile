# Everything a person runs here. Each target makes the environment itself; nothing else has to be set up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LMMS_EVAL := .venv-lmms-eval
INTEROP := .venv-interop

.DEFAULT_GOAL := help

# The variables that a target reads. Any other one is refused, because make would ignore it.
READS_train-hf := CONFIG FLAGS
READS_eval-blink := MODEL CHECKPOINT K FLAGS
READS_eval-gemma := MODEL CHECKPOINT FLAGS
READS_compare-results := FILES FLAGS
READS := PYTHON $(foreach goal,$(MAKECMDGOALS),$(READS_$(goal)))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNREAD := $(filter-out $(READS) MAKEFLAGS MAKEOVERRIDES,$(GIVEN))
ifneq ($(UNREAD),)
$(error $(firstword $(UNREAD))=$($(firstword $(UNREAD))): `make $(MAKECMDGOALS)` reads no such variable; it reads $(READS))
endif

.PHONY: help setup demo run real-gemma test test-avx2 smoke-test train-simple train-hf check format typecheck eval-blink eval-gemma compare-results bench pages docs lmms-eval-test interop-test versions-test build release-check clean clean-runs

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

# Gemma's terms of use hold for these weights: docs/real-gemma.md.
real-gemma: $(READY) ## fetch the real Gemma 3 270M, train its projector, compare arms on it (280 MB, hours)
	$(BIN)/python -m recipes.real_gemma
	$(BIN)/theworld arms configs/foresight/arms-real-gemma.yaml

# Two processes, each with whole files of tests: what a file sets up is set up once.
test: $(READY) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 20

# torch and oneDNN leave newer instructions alone, and `auto` computes in float32.
test-avx2: $(READY) ## run the demo's and trainings' tests as on a processor with AVX2 alone
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 DNNL_MAX_CPU_ISA=AVX2 $(BIN)/pytest --numprocesses 2 --dist loadfile --durations 5 \
	  tests/end_to_end/test_demo.py tests/unit/training/test_run.py tests/unit/test_precision.py

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

MODEL ?= $(or $(CHECKPOINT),tiny-foresight)
ifneq ($(MODEL),$(or $(CHECKPOINT),$(MODEL)))
$(error MODEL=$(MODEL) and CHECKPOINT=$(CHECKPOINT) are two names of one thing: give MODEL)
endif
comma := ,
STEPS := $(subst $(comma), ,$(K))
EVALUATE = $(BIN)/theworld evaluate --checkpoint "$(MODEL)" --data.dataset blink --max-new-tokens 1024
RESULTS = runs/blink/$(subst /,--,$(MODEL))
eval-blink: $(READY) ## ask BLINK: MODEL=a saved TheWorld or its hub id, K="0,4" future slots, FLAGS=more flags
	$(EVALUATE) --output-dir "$(RESULTS)" $(if $(STEPS),--num-world-steps $(STEPS)) $(FLAGS)

eval-gemma: $(READY) ## ask BLINK without what was trained: Gemma alone, the base of MODEL
	$(EVALUATE) --output-dir "$(RESULTS)-gemma" --arms gemma $(FLAGS)

FILES ?= $(wildcard runs/blink/*/predictions/*.jsonl)
compare-results: $(READY) ## compare predictions: those of eval-blink and eval-gemma, or FILES="a.jsonl b.jsonl"
	@test -n "$(FILES)" || { echo 'no predictions in runs/blink/: run `make eval-blink`, or give FILES="a.jsonl b.jsonl"' >&2; exit 2; }
	$(BIN)/theworld compare $(FILES) $(FLAGS)

bench: $(READY) ## one JSON line per figure, with its goal
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

pages: $(READY) ## write what README and docs show of runs: the scene, the tables of arms
	$(BIN)/python -m pages

docs: $(READY) ## build the documentation site into site/; a broken link fails
	$(BIN)/zensical build --strict

# lmms-eval pins wandb 0.25.0, which wants protobuf below 7; all else is as in constraints.txt. It also asks for av below
# 16, which tells no colours of HDR videos: so its packages come last, without their requirements.
$(LMMS_EVAL)/.ready: pyproject.toml tests/constraints-lmms-eval.txt
	$(PYTHON) -m venv $(LMMS_EVAL)
	$(LMMS_EVAL)/bin/pip install --quiet --upgrade pip
	$(LMMS_EVAL)/bin/pip install --quiet --constraint tests/constraints-lmms-eval.txt --editable '.[dev]'
	$(LMMS_EVAL)/bin/pip install --quiet --no-deps --requirement tests/constraints-lmms-eval.txt
	touch $(LMMS_EVAL)/.ready

lmms-eval-test: $(LMMS_EVAL)/.ready ## run lmms-eval itself on the tiny model, in an environment of its own (7 GB)
	OMP_NUM_THREADS=1 $(LMMS_EVAL)/bin/pytest tests/end_to_end/test_lmms_eval_run.py tests/unit/evaluation/lmms_eval_plugin

# TRL takes all versions of constraints.txt.
$(INTEROP)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/pip install --quiet --upgrade pip
	$(INTEROP)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,trl]'
	touch $(INTEROP)/.ready

interop-test: $(INTEROP)/.ready ## train with TRL, transformers' Trainer and peft, in an environment of its own (7 GB)
	OMP_NUM_THREADS=1 $(INTEROP)/bin/pytest tests/interop

# All packages but the named ones are those of constraints.txt.
versions-test: $(READY) ## test the oldest and newest transformers and diffusers of pyproject.toml (0.3 GB)
	OMP_NUM_THREADS=1 $(BIN)/python tests/tried_versions.py

build: $(READY) ## a wheel and a source archive, in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist

release-check: build ## run the wheel's demo in an empty environment, outside of the repository (6 GB)
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	"$$folder/venv/bin/pip" install --quiet --constraint constraints.txt dist/*.whl; \
	cd "$$folder"; venv/bin/theworld --version; venv/bin/theworld demo

clean: ## remove environments, caches and what make builds; runs and results stay
	rm -rf $(VENV) $(LMMS_EVAL) $(INTEROP) site .cache build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-runs: ## remove runs/ and demo/ with every trained model and result in them, after a question
	@printf 'Remove runs/ and demo/, with every model, checkpoint, feature and result in them? [y/N] '; \
	  read -r answer; test "$$answer" = y && rm -rf runs demo || echo 'nothing removed'
