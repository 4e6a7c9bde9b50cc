# `make help` says what there is. Everything runs in .venv, which `make` keeps in step with the requirements.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# MLflow and albumentations may not call home.
export MLFLOW_DISABLE_TELEMETRY := true
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: help repro test lint ui doctor

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 10

repro: doctor .venv/installed  ## run the pipeline to reports/report.md
	dvc repro

test: .venv/installed  ## run the tests
	python -m pytest

lint: .venv/installed  ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

ui: .venv/installed  ## MLflow's web page on http://127.0.0.1:5000
	mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

doctor:  ## check that the project can run here
	@$(PYTHON) -m pipeline.doctor

.venv/installed: requirements.txt constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
