# Everything the README tells people to run. Each target does its own set-up, in the
# ignored folder .cache; a second run reuses it.

PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.12 || \
	command -v python3.13 || command -v python3.10),python3)
CACHE := .cache
VENV := $(CACHE)/venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --retries 10

.PHONY: help setup packages webhdfs demo demo-hdfs test check bench docs zip clean

help:
	@echo "make demo       draw flowers, retrain on them through the DC/OS job, look at it"
	@echo "make demo-hdfs  the same on a real KDC and a real secure HDFS, set up here"
	@echo "make packages   install the Debian packages and the extras that tests run with"
	@echo "make test       run the tests; what is absent is skipped by its name"
	@echo "make check      format, lint and types"
	@echo "make bench      measure against the original script and the machine's limit"
	@echo "make docs       write the flag table of docs/flags.md from the program"
	@echo "make zip        build the job zip for DC/OS"
	@echo "make clean      remove what these made"

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	for attempt in 1 2 3; do \
	  $(PIP) install --editable '.[dev]' 'setuptools<82' && exit 0; sleep 5; \
	done; exit 1
	touch $@

setup: $(VENV)/.ready

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" demo/local.sh $(CACHE)/demo

demo-hdfs: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" demo/hdfs.sh $(CACHE)/demo

# webhdfs:// needs gssapi, which is built here: gcc, Kerberos' headers.
webhdfs: $(VENV)/.webhdfs

$(VENV)/.webhdfs: pyproject.toml | setup
	$(BIN)/python tools/packages.py krb5-dev
	for attempt in 1 2 3; do \
	  $(PIP) install --editable '.[webhdfs]' 'setuptools<82' && exit 0; sleep 5; \
	done; exit 1
	touch $@

packages: webhdfs
	$(BIN)/python tools/packages.py krb5 jdk maven faketime

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
