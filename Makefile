# `make help` lists the targets. Everything runs in .venv, which `make` updates when the requirements change:
# .venv/installed has the packages of the pipeline, .venv/developing also those of the tests and linters.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Disable MLflow's telemetry.
export MLFLOW_DISABLE_TELEMETRY := true
# Hide MkDocs' notice about MkDocs 2.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help install repro smoke tune leaderboard scale tools container bench docs notebook test test-fast test-long upgrade-check fuzz audit lint format ui doctor

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 13

install: .venv/installed  ## install the pipeline and the command `denoiselab` in .venv

repro: .venv/installed  ## run the default experiment: reports/report.md
	python -m pipeline.repair
	dvc repro

smoke: .venv/installed  ## run a tiny experiment in a temporary copy, to check the installation
	dvc exp run --temp -S recipe=smoke

tune: .venv/installed  ## hyper-parameter search on the validation images (block tune of params.yaml)
	dvc repro add-noise
	python -m pipeline.tune

leaderboard: .venv/installed  ## compare all DVC experiments: reports/leaderboard/
	python -m pipeline.leaderboard

scale: .venv/installed requirements/scale.txt  ## install packages for clusters, shared searches and S3 remotes
	$(INSTALL) -r requirements/scale.txt -c constraints.txt

tools: .venv/installed requirements/page.txt requirements/onnx.txt  ## install packages for the web page (denoiselab serve) and ONNX (denoiselab export)
	$(INSTALL) -r requirements/page.txt -r requirements/onnx.txt -c constraints.txt

ENGINE ?= docker
container: .venv/installed  ## build an image of the command and the web page (ENGINE=podman: with Podman)
	rm -rf wheels
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --wheel-dir wheels -c constraints.txt '.[page]'
	$(ENGINE) build --file Containerfile --tag denoiselab .

bench: .venv/developing  ## benchmark this machine, in ten minutes: reports/benchmarks/
	python -m bench

docs: .venv/developing  ## build the documentation: site/index.html
	mkdocs build --strict
	@echo "Search needs a server: python -m http.server --bind 127.0.0.1 --directory site 8000"

notebook: .venv/developing  ## rerun notebooks/quickstart.ipynb in a clone and store its outputs
	python -m docs.make.notebook

# A file on each core, the longest files first.
SPREAD := -n logical --dist loadfile --no-loadscope-reorder
test: .venv/developing  ## run the tests, one file per core
	python -m pytest $(SPREAD)

test-fast: .venv/developing  ## run the fast tests, in about a minute
	python -m pytest -m "not slow"

test-long: .venv/developing  ## run the tests that take minutes each, before a release
	python -m pytest $(SPREAD) -m long

# KEEP: packages not to upgrade, such as KEEP=torch==2.13.0; TESTS: arguments of pytest.
NEWEST := .venv-newest
TESTS ?= $(SPREAD) -m ""
upgrade-check: export PATH := $(CURDIR)/$(NEWEST)/bin:$(PATH)
upgrade-check: | doctor  ## run all tests with the newest versions that the requirements allow, in .venv-newest
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt $(KEEP)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(NEWEST)/bin/python -m pip check
	@grep == constraints.txt | sort -f > $(NEWEST)/pinned
	@echo "Differences from constraints.txt (<):"
	@$(NEWEST)/bin/python -m pip freeze --exclude-editable | sort -f | diff $(NEWEST)/pinned - || true
	$(NEWEST)/bin/python -m pytest $(TESTS)

fuzz: .venv/developing  ## coverage-guided fuzzing with a million inputs, for hours; needs Linux
	$(INSTALL) atheris -c constraints.txt
	python -m bench.fuzz

audit:  ## check the pinned packages for known vulnerabilities; needs internet
	test -x .audit/bin/pip-audit || { $(PYTHON) -m venv --clear .audit && .audit/bin/pip install --quiet pip-audit; }
	.audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt --ignore-vuln CVE-2025-69872

lint: .venv/developing  ## check the code with ruff and mypy
	ruff check .
	ruff format --check .
	mypy

format: .venv/developing  ## format the code with ruff
	ruff check --fix .
	ruff format .

ui: .venv/installed  ## start MLflow's web UI on http://127.0.0.1:5000
	python -m pipeline.ui

doctor:  ## check that the pipeline can run on this machine
	@$(PYTHON) -m pipeline.doctor

.venv/installed: requirements.txt requirements/denoise.txt requirements/experiments.txt constraints.txt pyproject.toml | doctor
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(INSTALL) -r requirements.txt -c constraints.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/developing: .venv/installed $(wildcard requirements/*.txt)
	$(INSTALL) -r requirements/dev.txt -c constraints.txt
	@touch $@
