# `make help` says what there is. Everything runs in .venv, which `make` keeps in step with the requirements: those of
# the pipeline (.venv/installed) and, for developers, those of the tests and linters on top (.venv/developing).
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PATH := $(CURDIR)/$(BIN):$(PATH)
# MLflow may not call home.
export MLFLOW_DISABLE_TELEMETRY := true
# MkDocs' notice of its successors
export NO_MKDOCS_2_WARNING := 1

.PHONY: help install repro smoke tune leaderboard scale tools bench docs notebook test test-fast test-long upgrade-check fuzz audit lint format ui doctor

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 13

install: .venv/installed  ## install what the pipeline and the command `denoiselab` need into .venv

repro: .venv/installed  ## run the pipeline to reports/report.md
	dvc repro

smoke: .venv/installed  ## run the pipeline in small, in a copy, to see that all works
	dvc exp run --temp -S recipe=smoke

tune: .venv/installed  ## search hyper-parameters on the validation images, as params.yaml's block tune says
	dvc repro add-noise
	python -m pipeline.tune

leaderboard: .venv/installed  ## one table of all DVC experiments: reports/leaderboard/
	python -m pipeline.leaderboard

scale: .venv/installed requirements-scale.txt  ## install what clusters, shared searches and S3 remotes need
	$(INSTALL) -r requirements-scale.txt -c constraints.txt

tools: .venv/installed requirements-tools.txt  ## install what the page (denoiselab serve) and ONNX (denoiselab export) need
	$(INSTALL) -r requirements-tools.txt -c constraints.txt

bench: .venv/developing  ## measure this machine in ten minutes: reports/benchmarks/
	python -m bench

docs: .venv/developing  ## build the documentation: site/index.html
	mkdocs build --strict

notebook: .venv/developing  ## run notebooks/quickstart.ipynb anew, in a copy, and keep what it shows
	python -m docs.make.notebook

# A file on each core, the longest files first.
SPREAD := -n logical --dist loadfile --no-loadscope-reorder
test: .venv/developing  ## run the tests, a file on each core
	python -m pytest $(SPREAD)

test-fast: .venv/developing  ## run the tests that take a minute
	python -m pytest -m "not slow and not long"

test-long: .venv/developing  ## run the tests that take minutes each: before a release
	python -m pytest $(SPREAD) -m long

# KEEP holds packages back, such as KEEP=torch==2.13.0; TESTS are pytest's arguments.
NEWEST := .venv-newest
TESTS ?= $(SPREAD) -m ""
upgrade-check: export PATH := $(CURDIR)/$(NEWEST)/bin:$(PATH)
upgrade-check: | doctor  ## install the newest versions that the requirements allow, apart, and run all tests with them
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt $(KEEP)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(NEWEST)/bin/python -m pip check
	@grep == constraints.txt | sort -f > $(NEWEST)/pinned
	@echo "What differs from constraints.txt (<):"
	@$(NEWEST)/bin/python -m pip freeze --exclude-editable | sort -f | diff $(NEWEST)/pinned - || true
	$(NEWEST)/bin/python -m pytest $(TESTS)

fuzz: .venv/developing  ## a million hostile inputs, led by coverage: hours; needs Linux and Python 3.11 or later
	$(INSTALL) atheris -c constraints.txt
	python -m bench.fuzz

audit:  ## look up the pinned packages among known vulnerabilities; needs internet
	test -x .audit/bin/pip-audit || { $(PYTHON) -m venv --clear .audit && .audit/bin/pip install --quiet pip-audit; }
	.audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt --ignore-vuln CVE-2025-69872

lint: .venv/developing  ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

format: .venv/developing  ## put the code in order
	ruff check --fix .
	ruff format .

ui: .venv/installed  ## MLflow's web page on http://127.0.0.1:5000
	python -m pipeline.ui

doctor:  ## check that the project can run here
	@$(PYTHON) -m pipeline.doctor

.venv/installed: requirements.txt constraints.txt pyproject.toml | doctor
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(INSTALL) -r requirements.txt -c constraints.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/developing: .venv/installed requirements-dev.txt requirements-scale.txt requirements-tools.txt
	$(INSTALL) -r requirements-dev.txt -c constraints.txt
	@touch $@
