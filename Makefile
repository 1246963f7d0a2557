# Everything the README tells people to run. Each target does its own set-up, in the
# ignored folder .cache; a second run reuses it.

PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.12 || \
	command -v python3.13 || command -v python3.10),python3)
CACHE := .cache
VENV := $(CACHE)/venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --retries 10

.PHONY: help setup demo test check bench docs zip clean

help:
	@echo "make demo    draw flowers, retrain on them through the DC/OS job, look at it"
	@echo "make test    run the tests"
	@echo "make check   format, lint and types"
	@echo "make bench   measure against the original script and the machine's limit"
	@echo "make docs    write the flag table of docs/flags.md from the program"
	@echo "make zip     build the job zip for DC/OS"
	@echo "make clean   remove what these made"

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	for attempt in 1 2 3; do \
	  $(PIP) install --editable '.[dev]' 'setuptools<82' && exit 0; sleep 5; \
	done; exit 1
	touch $@

setup: $(VENV)/.ready

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" demo/local.sh $(CACHE)/demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python -c 'from poets.flags import flags_markdown as text; \
	  print(text(), end="")' > docs/flags.md

zip: setup
	$(BIN)/python build_zip.py

clean:
	rm -rf $(CACHE) build dist
