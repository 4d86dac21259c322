# Nothing but Python (3.10 or newer) and make is needed before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check install clean

help:
	@echo "make demo   install, train a small conditional GAN, show where its results are"
	@echo "make test   install, run all tests"
	@echo "make check  install, ruff and mypy"

# The stamp is older than pyproject.toml when dependencies changed: then install again.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/ganbench train +experiment=demo

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy scripts

clean:
	rm -rf $(VENV) build dist *.egg-info
