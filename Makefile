# Each target makes its own virtual environment (.venv) on the first run.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: reproduce test lint bench listings docs wheel-test clean

reproduce: .venv/.run
	$(BIN)/jcevns reproduce --out reproduced

test: .venv/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m benchmarks

# What jcevns theories and jcevns experiments print: jcevns/cli/listings.json.
listings: .venv/.dev
	$(BIN)/python -m jcevns.cli.describe

# The site: docs/_build/html/index.html.
docs: .venv/.dev
	$(BIN)/python -m sphinx -W --keep-going -n -b html docs docs/_build/html

# The wheel alone, in an empty environment, outside the source tree.
wheel-test: .venv/.dev
	$(BIN)/python -m build --wheel --outdir build/wheel .
	rm -rf build/empty && $(PYTHON) -m venv build/empty
	build/empty/bin/pip install --quiet build/wheel/*.whl
	cd build/empty && bin/jcevns data && bin/jcevns fit flux --experiments xenonnt-2024-s2

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.run: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[all]"
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ .venv/.run

clean:
	rm -rf .venv build dist reproduced
