SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
GS := $(BIN)/groundswell
PYTEST := $(BIN)/pytest
PARALLEL := --numprocesses auto --dist loadfile
NEEDS_MORE := integration or flink or data or model

help: ## show the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## build the application environment in .venv (several GB on Linux: torch's wheel carries CUDA)

demo: setup ## posts scored, profiles moved, a spike found, a signed webhook received: one process, no server
	$(GS) demo --out .demo --seed 7

up: setup ## start Kafka, Redis, Flink, a worker and the notifier on this machine, without Docker
	$(GS) up

down: setup ## stop them all; the data stay
	$(GS) down

status: setup ## what runs, and the accounting
	$(GS) status

check: setup ## lint, format, types, import contracts, fast tests: a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q $(PARALLEL) -m "not (slow or $(NEEDS_MORE))"

test: check servers ## everything, on real Kafka, Redis and Flink
	$(PYTEST) -q $(PARALLEL) -m "slow and not ($(NEEDS_MORE))"
	$(PYTEST) -q -m "$(NEEDS_MORE)"

bench: setup servers ## measure; prints machine, versions and ratios
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.trends --no-flink
	$(BIN)/python -m benchmarks.flink
	$(BIN)/python -m benchmarks.encode

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --require-hashes --requirement infra/locks/uv.txt

.venv/.ready: $(UV) infra/locks/app.txt pyproject.toml
	test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv
	$(UV) pip sync --quiet --compile-bytecode --python .venv infra/locks/app.txt
	$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	touch $@

servers: setup ## fetch what the real servers are made of, and the model's weights; quick where they stand
	$(GS) fetch
	$(GS) model fetch

lock: $(UV) ## renew the locks from pyproject.toml
	$(UV) pip compile pyproject.toml --all-extras --group dev --group bench $(LOCK_FLAGS) --output-file infra/locks/app.txt
	$(UV) pip compile infra/locks/flink.in $(LOCK_FLAGS) --output-file infra/locks/flink.txt
	echo uv | $(UV) pip compile - $(LOCK_FLAGS) --output-file infra/locks/uv.txt
LOCK_FLAGS := --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header

.PHONY: help setup servers demo up down status check test bench lock
