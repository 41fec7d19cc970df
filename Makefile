# Everything a developer needs. `make test` works on a fresh machine with Python 3.10 or newer and nothing installed.

PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=
CONSTRAINTS ?= constraints.txt
OLDEST ?= constraints-oldest.txt
OLDEST_PYTHON ?= python3.10

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test lint types pytest test-fast test-oldest coverage slow format docs dist train figures photos real paper-mini games-mini phrases-mini phrases-real sanity sanity-resnet sanity-photos support bench bench-gpu clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

venv: $(INSTALLED)  ## create .venv with the pinned packages and this package (editable)

$(INSTALLED): pyproject.toml $(CONSTRAINTS) $(wildcard packaging/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		f"{sys.executable} is Python {sys.version.split()[0]}; 3.10 or newer is needed (make PYTHON=...)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The build backends come from the pins too, so that nothing unpinned is fetched on the way.
	$(PIP) install --quiet --constraint $(CONSTRAINTS) hatchling editables setuptools
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --no-build-isolation \
		./packaging/opencv-python ./packaging/opencv-python-headless --editable '.[test,peers]'
	$(PIP) check
	@touch $@

demo: $(INSTALLED)  ## explain a photo and a crowded picture
	$(BIN)/excitation demo --out out/demo

test: lint types pytest  ## style, types, then all tests

lint: $(INSTALLED)  ## style and the direction of imports, without changing anything
	$(BIN)/ruff check src tests experiments packaging docs/conf.py
	$(BIN)/ruff format --check src tests experiments packaging docs/conf.py
	$(BIN)/lint-imports --no-logo

types: $(INSTALLED)  ## run the strict type check
	$(BIN)/mypy

pytest: $(INSTALLED)  ## run only the tests (PYTEST_ARGS='-k overlay')
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

test-fast: $(INSTALLED)  ## run the fast tests
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not slow' $(PYTEST_ARGS)

test-oldest:  ## run all tests with the oldest supported Python and packages
	$(MAKE) pytest VENV=.venv-oldest PYTHON=$(OLDEST_PYTHON) CONSTRAINTS=$(OLDEST)

coverage: $(INSTALLED)  ## run all tests and list the lines without coverage
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term --cov-report=html:out/coverage $(PYTEST_ARGS)

slow: $(INSTALLED)  ## measure the durations of the tests again and update tests/slow.txt (on a quiet machine)
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not slow' --junitxml=out/tests.xml
	$(BIN)/python -m tests.slow out/tests.xml

format: $(INSTALLED)  ## format the source code
	$(BIN)/ruff check --fix src tests experiments packaging docs/conf.py
	$(BIN)/ruff format src tests experiments packaging docs/conf.py

$(VENV)/.docs: $(INSTALLED)
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --no-build-isolation --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs  ## the documentation, in docs/_build/html; warnings are errors, its code runs
	$(BIN)/python -m sphinx -W --keep-going -b html -q docs docs/_build/html

dist: $(INSTALLED)  ## wheel and sdist in dist/; each is installed and tested in an empty folder
	rm -rf dist build/wheel build/sdist
	$(BIN)/hatchling build
	ls -l dist
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip --disable-pip-version-check install --quiet --constraint $(CONSTRAINTS) dist/*.whl
	cd build/wheel && bin/excitation demo --out demo && bin/python ../../packaging/smoke.py
	mkdir build/sdist && tar -xzf dist/*.tar.gz -C build/sdist --strip-components 1
	cd build/sdist && PYTHONPATH=src $(abspath $(BIN))/python -m pytest -n $(WORKERS) -m 'not slow' $(PYTEST_ARGS)

train: $(INSTALLED)  ## train the symbol world's classifiers (half an hour each and more; resumable)
	$(BIN)/python -m experiments.symbols.train --network googlenet
	$(BIN)/python -m experiments.symbols.train --network resnet

figures: $(INSTALLED)  ## redraw the figures of the documentation
	$(BIN)/excitation demo --out out/demo && cp out/demo/maps.png docs/figures/demo.png
	cp out/demo/photo.png docs/figures/photo.png
	$(BIN)/python -m experiments.figures.layers
	$(BIN)/python -m experiments.figures.contrast
	$(BIN)/python -m experiments.figures.cooccurrence
	$(BIN)/python -m experiments.figures.feedback
	rm -rf out/compare && $(BIN)/excitation compare out/demo/picture.png --model symbols --target telephone \
		--target clover --target crown --target "recycling sign" --out out/compare && \
		cp out/compare/picture.compare.png docs/figures/compare.png
	$(BIN)/python -m experiments.figures.compress

paper-mini: $(INSTALLED)  ## Tables 1 to 3 and Fig. 6 on 500 symbol scenes (resumable)
	$(BIN)/python -m experiments.paper_mini

games-mini: $(INSTALLED)  ## the grid game, deletion and insertion on symbol scenes (resumable)
	$(BIN)/python -m experiments.paper_mini --only grid-2 grid-3 deletion

phrases-mini: $(INSTALLED)  ## Tables 4 and 5 and Fig. 7 on symbol scenes (resumable)
	$(BIN)/python -m experiments.phrases.mini

phrases-real: $(INSTALLED)  ## phrases on real photos (needs ../shared; resumable)
	$(BIN)/python -m experiments.phrases.real

photos: $(INSTALLED)  ## top-1 and top-5 of a Caffe network on photos, a cat and a dog (needs ../shared)
	$(BIN)/python -m experiments.photos

sanity: $(INSTALLED)  ## sanity checks of all methods on the symbol world (resumable)
	$(BIN)/python -m experiments.sanity symbols
	$(BIN)/python -m experiments.figures.compress

sanity-resnet: $(INSTALLED)  ## the same with the symbol world's residual network (after make train)
	$(BIN)/python -m experiments.sanity resnet
	$(BIN)/python -m experiments.figures.compress

sanity-photos: $(INSTALLED)  ## the same with SqueezeNet, both heads, on photos (needs ../shared)
	$(BIN)/python -m experiments.sanity squeezenet
	$(BIN)/python -m experiments.figures.compress

support: $(INSTALLED)  ## explain every torchvision classifier and timm's convolutional families (resumable)
	$(BIN)/python -m experiments.support.table

bench: $(INSTALLED)  ## the engine's speed, for docs/results/speed.md (resumable; runs/speed)
	$(BIN)/python -m experiments.speed
	cp runs/speed/cpu.json docs/results/speed.json
	$(BIN)/python -m experiments.speed.page
	$(BIN)/python -m experiments.figures.speed_scaling
	$(BIN)/python -m experiments.figures.compress

bench-gpu: $(INSTALLED)  ## the same on a CUDA device, with images and maps per second
	$(BIN)/python -m experiments.speed --device cuda --threads 1 --out runs/speed/cuda.json

real: $(INSTALLED)  ## the games on real photos, which are read from ../shared (hours; resumable)
	$(BIN)/python -m experiments.real

clean:  ## remove the environment and all generated files
	rm -rf $(VENV) .venv-oldest build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
