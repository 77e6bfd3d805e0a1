# make demo: the whole study on pictures that cvbench draws, on this machine, nothing to download but packages.
# make test: the tests of every day, in three processes.   make test-all: and the long runs of tests/slow.txt, and the
# numeric ones with every BLAS kernel of this processor and ten draws.
# make check: lint, format, types.   make docs: the documentation as a site.   make clean: remove what make made.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

# The order of the tests; any other number is another order.
ORDER ?= 1
DRAWS ?= 10
JOBS ?= 3
PYTEST = $(BIN)/python -m pytest --randomly-seed=$(ORDER) -n $(JOBS) --dist loadgroup --no-loadscope-reorder

.PHONY: help demo docs test test-slow test-numerics test-all check clean

help:
	@sed -n '1,4s/^# //p' Makefile

# A stamp per set of packages: installed again only when the versions change.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cvbench needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo 'Installing packages into $(VENV): several minutes the first time.'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -qq -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install -qq -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.runtime
	$(BIN)/cvbench reproduce --scale smoke
	@echo '  make demo again           finds everything there and computes nothing anew.'

test: $(VENV)/.dev
	$(PYTEST) </dev/null

test-slow: $(VENV)/.dev
	$(PYTEST) -m slow </dev/null

test-numerics: $(VENV)/.dev
	$(BIN)/python -m tests.numerics --draws $(DRAWS) --jobs $(JOBS)

test-all: test test-slow test-numerics

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'docs: build/site/index.html'

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy bench

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/cvbench.egg-info
	find api engine jobs storage cli tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
