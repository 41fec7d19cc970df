# Everything a developer needs. `make test` works on a fresh machine with Python 3.10 or newer and nothing installed.

PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test lint types pytest format train figures pointing real clean

help:  ## show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

venv: $(INSTALLED)  ## make .venv with the pinned packages and this one, editable

$(INSTALLED): pyproject.toml constraints.txt requirements-nodeps.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		f"{sys.executable} is Python {sys.version.split()[0]}; 3.10 or newer is needed (make PYTHON=...)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The build backend comes from the pins too, so that nothing unpinned is fetched on the way.
	$(PIP) install --quiet --constraint constraints.txt hatchling editables
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[test]'
	$(PIP) install --quiet --no-deps --requirement requirements-nodeps.txt
	@touch $@

demo: $(INSTALLED)  ## explain a crowded picture with the classifier that comes along
	$(BIN)/excitation demo --out out/demo

test: lint types pytest  ## style, types, then all tests

lint: $(INSTALLED)  ## style, without changing anything
	$(BIN)/ruff check src tests experiments
	$(BIN)/ruff format --check src tests experiments

types: $(INSTALLED)  ## strict type check
	$(BIN)/mypy

pytest: $(INSTALLED)  ## the tests alone (PYTEST_ARGS='-k overlay')
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

format: $(INSTALLED)  ## put the style right
	$(BIN)/ruff check --fix src tests experiments
	$(BIN)/ruff format src tests experiments

train: $(INSTALLED)  ## train the symbol world's classifiers (an hour each; goes on where it stopped)
	$(BIN)/python -m experiments.symbols.train --network googlenet
	$(BIN)/python -m experiments.symbols.train --network resnet

figures: $(INSTALLED)  ## draw the figures of the documentation again
	$(BIN)/excitation demo --out out/demo && cp out/demo/maps.png docs/figures/demo.png
	$(BIN)/python -m experiments.figures.layers
	$(BIN)/python -m experiments.figures.contrast
	$(BIN)/python -m experiments.figures.cooccurrence

pointing: $(INSTALLED)  ## the pointing game on 500 scenes of the symbol world (goes on where it stopped)
	$(BIN)/excitation symbols --count 500 --out runs/pointing/world
	$(BIN)/excitation bench pointing --data coco:runs/pointing/world --model symbols --shortest 160 \
		--methods mwp,c-mwp,r-mwp,gradient,deconv,lrp-epsilon-plus,cam,grad-cam,layer-cam,centre \
		--layer inception_3b --out runs/pointing/run.sqlite
	$(BIN)/excitation report runs/pointing/run.sqlite --form markdown > docs/results/pointing_symbols.md

real: $(INSTALLED)  ## the games on real photos, which are read from ../shared (hours; goes on where it stopped)
	$(BIN)/python -m experiments.real

clean:  ## remove the environment and everything that was made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
