# All commands of the README that try poets. Each target does its own set-up, in the
# ignored folder .cache; a second run reuses it.

PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.12 || \
	command -v python3.13 || command -v python3.10),python3)
CACHE := .cache
VENV := $(CACHE)/venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --retries 10
# Two processes more than cores, as tests wait a third of their time; one for 2 GB. The
# order is that of tests/conftest.py: xdist's own leaves groups of few tests to the end,
# which are the long ones.
PROCESSES := $(shell awk -v most=$$(expr $$(nproc) + 2) '/^MemTotal/ \
	{n = int($$2 / 2e6); print n < 1 ? 1 : n < most ? n : most}' /proc/meminfo)
PYTEST := $(BIN)/python -m pytest --numprocesses=$(PROCESSES) --maxprocesses=5 \
	--dist=loadgroup --no-loadscope-reorder

# Compiled once, and not by each of a thousand processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup test-setup demo demo-hdfs demo-spark test soak check bench docs notebook \
	kubernetes images zip clean

help:
	@echo "make demo       draw flowers, retrain on them through the DC/OS job, look at it"
	@echo "make demo-hdfs  the same on a real KDC and a real secure HDFS, set up here"
	@echo "make demo-spark the same as a Spark application on YARN beside that HDFS"
	@echo "make test       set up what tests run with, as far as possible, and run them"
	@echo "make soak       the long tests: every seeded kill, many images, every Python"
	@echo "make check      format, lint and types"
	@echo "make bench      measure against the original script and the machine's limit"
	@echo "make docs       write the flag table of docs/flags.md from the program"
	@echo "make notebook   run demo/poets.ipynb and keep what it shows"
	@echo "make kubernetes build a real Kubernetes from Go modules, 25 minutes"
	@echo "make images     build all images with podman; the tests then use both"
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

demo-spark: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" demo/spark.sh $(CACHE)/demo

test-setup: setup
	$(BIN)/python tools/set_up_tests.py

test: test-setup
	$(PYTEST) -m 'not soak'

soak: test-setup soak-3.10 soak-3.12 soak-3.13
	$(PYTEST) -m soak

# A Python by its version: one on the PATH, or one of pyenv's.
python = $(shell for python in python$(1) \
	$${PYENV_ROOT:-$$HOME/.pyenv}/versions/$(1).*/bin/python; do \
	"$$python" -c 'import sys; print(sys.executable)' 2>/dev/null && break; done)

# The tests that need no server, on another Python, where that is installed.
soak-3.%:
	$(if $(call python,3.$*), \
	  $(MAKE) setup PYTHON=$(call python,3.$*) VENV=$(CACHE)/venv-3.$* && \
	  env -u POETS_REQUIRE $(subst $(VENV),$(CACHE)/venv-3.$*,$(PYTEST)) \
	    -m 'not soak and not hdfs', \
	  @echo "Python 3.$* is not installed: left out")

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python -c 'from poets.flags import flags_markdown as text; \
	  print(text(), end="")' > docs/flags.md

NOTEBOOK := $(CACHE)/notebook

notebook: setup
	rm -rf $(NOTEBOOK) && mkdir -p $(NOTEBOOK)
	cp demo/poets.ipynb demo/flowers.py demo/pen.py $(NOTEBOOK)
	cd $(NOTEBOOK) && POETS_CACHE=cache TQDM_DISABLE=1 $(abspath $(BIN))/python -c \
	  'import nbclient, nbformat; book = nbformat.read("poets.ipynb", 4); \
	  nbclient.execute(book, record_timing=False); nbformat.write(book, "poets.ipynb")'
	cp $(NOTEBOOK)/poets.ipynb demo

kubernetes: setup
	$(BIN)/python tools/kubernetes/kubernetes.py build

images: kubernetes
	$(BIN)/python tools/kubernetes/kubernetes.py images --check

zip: setup
	$(BIN)/python build_zip.py

clean:
	rm -rf $(CACHE) build dist
