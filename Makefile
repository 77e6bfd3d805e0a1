# make demo: the main job on scikit-learn's digits, on this machine, nothing to download but packages.
# make test: every test.   make check: lint, format, types.   make clean: remove what make made.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: help demo test check clean

help:
	@sed -n '1,2s/^# //p' Makefile

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
	$(BIN)/cvbench extract --dataset digits --backbone test_convnext --backbone test_vit --weights random \
		--taps blocks --view pooled --view head --store demo/digits.zarr
	$(BIN)/cvbench analyze cka --store demo/digits.zarr --out demo/figures
	@echo
	@echo 'What to look at:'
	@echo '  demo/figures      heat maps of layerwise CKA (SVG and PNG): within each network, and ConvNeXt against ViT.'
	@echo '                    Bright = two layers represent the digits alike. The weights are random here, so most are;'
	@echo '                    the step in ConvNeXt is its last downsampling. Trained weights show much more.'
	@echo '  demo/digits.zarr  the features, one array per layer. List them:'
	@echo '                    $(BIN)/cvbench store info --store demo/digits.zarr'
	@echo '  make demo again   finds everything committed and computes nothing anew.'

test: $(VENV)/.dev
	$(BIN)/python -m pytest </dev/null

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/cvbench.egg-info
	find engine jobs storage cli tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
