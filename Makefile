.DEFAULT_GOAL := help
.PHONY: help run origin test test-faults lint format bench lock packages-run packages-test python-run python-dev
SHELL := /bin/bash

PYTHON ?= python3
export PYTHON

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: packages-run python-run ## start the whole system in the foreground; Ctrl-C stops all of it
	@exec .venv/bin/python -m pdns_gtm_backend.standalone

origin: python-run ## start a stopped origin of the demo again: make origin ORIGIN=a1
	@exec .venv/bin/python -m pdns_gtm_backend.standalone origin $(ORIGIN)

test: packages-test python-dev ## run all tests in parallel; ARGS="-k name" goes to pytest
	@exec .venv/bin/python -m pytest -n $$(($$(nproc) + 2)) --dist loadfile --no-loadscope-reorder tests/e2e tests/integration tests/unit $(ARGS)

test-faults: packages-test python-dev ## kill, freeze, fill and cut off every part under load; a line for each fault
	@exec .venv/bin/python -m pytest -s -p no:xdist tests/faults $(ARGS)

lint: python-dev ## check style, types and layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: python-dev ## format the code and mend what ruff can mend
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

bench: packages-test python-dev ## run the benchmarks there are; ARGS="-k name" goes to pytest
	@if [ -z "$$(find tests/bench -name 'test_*.py' -o -name 'bench_*.py')" ]; then echo "there is no benchmark yet (tests/bench)"; \
	else exec .venv/bin/python -m pytest -s -p no:xdist -o python_files='test_*.py bench_*.py' tests/bench $(ARGS); fi

lock: packages-run ## write the lock files anew from pyproject.toml
	@deploy/lock

packages-run:
	@deploy/install-packages run

packages-test:
	@deploy/install-packages test

python-run: packages-run
	@deploy/install-python run

python-dev: packages-run
	@deploy/install-python dev

-include deploy/deploy.mk
