# `make demo` and `make test` do all their own set-up.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q

# Debian ships Python without its venv module.
INSTALL_VENV = { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -q -y python3.11-venv; } || \
  { echo "Python's venv module is missing: run 'apt-get install python3.11-venv' as root."; exit 1; }

.PHONY: venv demo test lint types docs clean

demo: $(VENV)/.installed
	$(BIN)/python train.py --model groupnet_dsp

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

venv: $(VENV)/.installed-dev

clean:
	rm -rf $(VENV) site build *.egg-info

# Stamps are written last. pip takes the half of a package that an interrupted installation leaves
# for a whole one, so without its stamp an environment is made anew.
$(VENV)/.installed: requirements.txt requirements-zoo.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 is needed: install it, or run 'make PYTHON=/path/to/python3.11'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(INSTALL_VENV)
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-zoo.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@rm $<
	$(PIP) -r requirements-dev.txt
	@touch $< $@
