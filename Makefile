# Everything a developer or CI runs. `make` alone prints the list.
# Needs make, python3 (3.11 to 3.14) and python3-venv; each target sets .venv up by itself.
#
# DATA=FOLDER     a folder of data outside the repository, for demo and test-data
# ARGS='...'      more arguments for pytest, lipei or the benchmarks
# PYTHON=python3  the Python that .venv is made of
# UPGRADE=1       lets `make lock` take newer versions

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
.PHONY: help setup demo test test-data check bench fault up clean proto proto-release lock has-data

# Values reach the recipes through the environment, where the shell cannot take them for code.
export DATA PYTHON
unexport PYTHONHOME PYTHONPATH
# Two hundred processes of a test run each compile all that they import when nothing is kept.
unexport PYTHONDONTWRITEBYTECODE

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv from the development lock (every other target does it by itself)
	@sh .ci/setup

demo: setup ## Run a hospital's bills through real servers to money; DATA=FOLDER takes FHIR bills from there
	@set --; [ -z "$$DATA" ] || set -- --data "$$DATA"; exec .venv/bin/lipei demo "$$@" $(ARGS)

# What tests write needs no disk: where memory has room (TMPDIR unset, 2 GB), half the time is saved.
test: setup ## Run the tests on all cores, without the long fault tests and those that need DATA
	@room=$$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1); \
	[ -n "$$TMPDIR" ] || [ "$${room:-0}" -lt 2000000 ] || export TMPDIR=/dev/shm; \
	exec .venv/bin/python -m pytest --numprocesses $$(($$(nproc) + 1)) --maxprocesses 5 --dist loadfile --no-loadscope-reorder $(ARGS)

test-data: has-data setup ## Run the tests that need DATA=FOLDER
	@DATA=$$(cd "$$DATA" && pwd) && export DATA && exec .venv/bin/python -m pytest tests/data -m "" $(ARGS)

check: setup ## Run every gate: ruff, mypy, import-linter, buf, generated code, labels, bandit, house rules
	@exec sh .ci/check

bench: setup ## Run the benchmarks against their floors
	@exec .venv/bin/python -m bench $(ARGS)

fault: setup ## Run the fault tests at full length, and all properties with more examples
	@exec .venv/bin/python -m pytest -m "fault or hypothesis and not data" --hypothesis-profile=ci $(ARGS)

up: setup ## Start the whole stack on this machine; Ctrl-C stops it
	@exec .venv/bin/lipei up $(ARGS)

clean: ## Remove build/, dist/ and caches; keeps .venv/ and .lipei/ (state and keys), stops nothing
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

proto: setup ## Generate the Python code of protos/ and docs/access-matrix.md anew
	@.venv/bin/python .ci/generate.py
	@.venv/bin/python .ci/labels.py --write

proto-release: setup ## Renew protos/released.binpb, which no later .proto may break
	@.venv/bin/buf build --exclude-source-info -o protos/released.binpb

lock: setup ## Compile both locks from pyproject.toml and check that every wheel exists
	@exec sh .ci/lock

has-data:
	@[ -n "$$DATA" ] || { echo "say where the data is: make test-data DATA=FOLDER" >&2; exit 2; }
	@[ -d "$$DATA" ] || { echo "no such folder: DATA=$$DATA" >&2; exit 2; }
