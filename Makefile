# make demo: the main job on scikit-learn's digits, on this machine, nothing to download but packages.
# make test: the tests of every day, in two processes.   make test-all: and the long kill runs, and the numeric ones with
# every BLAS kernel of this processor and ten draws.
# make check: lint, format, types.   make docs: the documentation as a site.   make clean: remove what make made.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

# The order of the tests; any other number is another order.
ORDER ?= 1
DRAWS ?= 10
JOBS ?= 2
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

DEMO = --store demo/digits.zarr --dataset digits
FIGURE = --out demo/figures --address none
TRAIN = transfer finetune --dataset digits --weights random --image-size 64 --out demo/weights --address none
MODELS = --backbone test_convnext --backbone test_vit --image-size 64 \
	--weights test_convnext=demo/weights/test_convnext@64-digits.safetensors \
	--weights test_vit=demo/weights/test_vit@64-digits.safetensors

demo: $(VENV)/.runtime
	$(BIN)/cvbench $(TRAIN) --backbone test_convnext --epochs 3
	$(BIN)/cvbench $(TRAIN) --backbone test_vit --epochs 30
	$(BIN)/cvbench extract $(DEMO) $(MODELS) --split test --taps blocks --view pooled --view maps --view head --view logits
	$(BIN)/cvbench analyze cka $(DEMO) --out demo/figures
	$(BIN)/cvbench analyze cka $(DEMO) --view pooled --address none
	$(BIN)/cvbench analyze spectra $(DEMO) $(FIGURE)
	$(BIN)/cvbench analyze similarity $(DEMO) $(FIGURE)
	$(BIN)/cvbench analyze maps $(DEMO) $(FIGURE)
	$(BIN)/cvbench analyze cam $(DEMO) $(MODELS) --split test $(FIGURE)
	$(BIN)/cvbench analyze tsne $(DEMO) --repeats 2 $(FIGURE)
	$(BIN)/cvbench analyze silhouette $(DEMO)
	$(BIN)/cvbench eval accuracy $(DEMO)
	$(BIN)/cvbench report --store demo/digits.zarr --out demo/report
	@echo
	@echo 'What to look at:'
	@echo '  demo/report/report.html   everything on one page: open it in a browser. Tables and figures lie beside it.'
	@echo '  demo/figures              the figures as SVG and PNG, the numbers behind them as CSV.'
	@echo '  demo/digits.zarr          the features, one array per layer. List them:'
	@echo '                            $(BIN)/cvbench store info --store demo/digits.zarr'
	@echo '  make demo again           finds everything there and computes nothing anew.'

test: $(VENV)/.dev
	$(PYTEST) </dev/null

test-slow: $(VENV)/.dev
	$(PYTEST) -m slow </dev/null

test-numerics: $(VENV)/.dev
	$(BIN)/python -m tests.numerics --draws $(DRAWS)

test-all: test test-slow test-numerics

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'docs: build/site/index.html'

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/cvbench.egg-info
	find api engine jobs storage cli tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
