# Every task of the project; CI calls the same names.  `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed
SOURCES := $(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd') setup.py pyproject.toml
EXTRAS ?= test

# The compiled build is the installed one; the pure build is the source folder itself.
COMPILED := KHEAP_EXPECT_BUILD=compiled $(BIN)/python -P -m
PURE     := KHEAP_EXPECT_BUILD=pure PYTHONPATH=src $(BIN)/python -m

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-compiled test-pure test-oracle coverage lint docs bench build clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

setup: $(STAMP) ## Make the virtual environment and install kheap into it

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The firmware and its emulator are not to be had on every platform; without them that one
# check is left out, and says so.
$(STAMP): $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[$(EXTRAS)]"
	@$(BIN)/python -P -m kheap --version
	@touch $@

$(VENV)/oracle: $(STAMP)
	-@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: ".[oracle]"
	@touch $@

demo: setup ## Find the heap that serves a real trace; replay it in one that does not, and draw it
	@bash examples/demo.sh $(BIN)/kheap

test: test-compiled test-pure ## All tests, on both builds

test-compiled: setup $(VENV)/oracle ## All tests on the compiled build
	@if $(BIN)/python -P -c 'import sys, kheap; sys.exit(not kheap.COMPILED)'; then \
	  $(COMPILED) pytest -n 2 -q; \
	else echo "no C compiler: only the pure build is tested"; fi

# Two halves at once: the tests of single modules and commands, and all others.
test-pure: setup $(VENV)/oracle ## All tests on the pure build, with its branch coverage
	$(PURE) coverage erase
	@$(PURE) coverage run --parallel-mode -m pytest -q -n 0 tests/unit tests/cli & half=$$!; \
	$(PURE) coverage run --parallel-mode -m pytest -q -n 0 --ignore=tests/unit --ignore=tests/cli; \
	rest=$$?; wait $$half && exit $$rest
	$(PURE) coverage combine --quiet
	$(PURE) coverage report

test-oracle: setup $(VENV)/oracle ## Compare with the machine code of a released firmware
	$(COMPILED) pytest -q tests/oracle

lint: setup ## Formatting, types, layers, spelling
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[lint]"
	$(BIN)/ruff format --check src tests setup.py
	$(BIN)/ruff check src tests setup.py
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint --max-line-length=110 --ignore=E301 src/kheap/_core/*.pxd src/kheap/_core/*.pyx
	$(BIN)/codespell src tests docs README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/validate-pyproject pyproject.toml

docs: setup ## The documentation as a website, in docs/_build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

bench: setup ## Side-by-side timings, with numpy among the peers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[bench]"
	$(BIN)/kheap bench

build: setup ## A source distribution and a wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	KHEAP_COMPILED=1 $(BIN)/python -m build

clean: ## Remove what these tasks make
	rm -rf $(VENV) build dist lvgl_heap.html .coverage .coverage.* src/*.egg-info
