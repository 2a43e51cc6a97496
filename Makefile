# `make demo` and `make test` do their own set-up.
SUPPORTED = import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.10 python3; do \
  "$$python" -c '$(SUPPORTED)' 2>/dev/null && echo "$$python" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP = $(@D)/bin/python -m pip install --disable-pip-version-check -q

# Debian ships Python without its venv module. A lock serialises concurrent installations.
VENV_PACKAGE = $(shell $(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
INSTALL_VENV = { [ "$$(id -u)" = 0 ] && flock Makefile sh -c \
    'apt-get update -q && apt-get install -q -y $(VENV_PACKAGE)'; } || \
  { echo "Python's venv module is missing: run 'apt-get install $(VENV_PACKAGE)' as root."; exit 1; }

define NEW_VENV
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { echo "Python 3.10, 3.11 or 3.12 is needed:" \
	  "install one, or run 'make PYTHON=/path/to/python'."; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || $(INSTALL_VENV)
	"$(PYTHON)" -m venv --clear $(@D)
endef

.PHONY: venv demo test quick test-runtime test-arm wheels smoke lint types docs clean

demo: $(VENV)/.installed $(VENV)/.runtime
	$(BIN)/python train.py --model groupnet_dsp

test: $(VENV)/.installed-dev $(VENV)/.runtime
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# A minute and a half: the fast unit tests, and one test of each module without unit tests.
quick: $(VENV)/.installed-dev $(VENV)/.runtime
	$(BIN)/python -m pytest -n auto -q -m "(unit or quick) and not slow"

# The main paths with the oldest versions that setup.py allows.
smoke: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python -m pytest tests/smoke

# The engine's tests, and the same files in every small TFLite interpreter on PyPI.
test-runtime: build/networks/.done runtime/dist/.done build/sanitized/.done
	LARQ_GROUPNET_RUNTIME_SANITIZED=$$(cat build/sanitized/.done) $(BIN)/python -m pytest \
	  -n auto --dist loadfile -c runtime/pyproject.toml --rootdir runtime runtime/tests
	$(BIN)/python runtime/tests/matrix.py runtime/dist/*x86_64.whl build/networks

# The aarch64 wheel in an arm64 Python under qemu-user. The first time it downloads 150 MB.
test-arm: build/networks/.done runtime/dist/.done
	$(BIN)/python runtime/arm/prove.py runtime/dist/*aarch64.whl build/networks --build build/arm

wheels: runtime/dist/.done

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy
	$(BIN)/mypy runtime/larq_groupnet_runtime

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

# Also installs the commands larq-groupnet and larq-groupnet-run.
venv: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -e .
	@$(MAKE) --no-print-directory $(VENV)/.runtime

clean:
	rm -rf $(VENV) $(VENV)-oldest site build *.egg-info

# Stamps are written last. pip accepts a half-installed package after an interruption, so an
# environment without its stamp is recreated.
$(VENV)/.installed: requirements.txt requirements-zoo.txt
	$(NEW_VENV)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-zoo.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@rm $<
	$(PIP) -r requirements-dev.txt
	@touch $< $@

$(VENV)-oldest/.installed: requirements-oldest.txt
	$(NEW_VENV)
	$(PIP) -r requirements-oldest.txt $(shell grep ^pytest== requirements-dev.txt)
	@touch $@

# Recreating the environment removes this stamp.
RUNTIME := $(wildcard runtime/CMakeLists.txt runtime/src/* runtime/src/kernels/* \
  runtime/larq_groupnet_runtime/*.py)
$(VENV)/.runtime: $(RUNTIME) | $(VENV)/.installed
	$(PIP) --force-reinstall --no-deps ./runtime
	@touch $@

# The engine under AddressSanitizer and UndefinedBehaviorSanitizer, for its test of faulty files.
# The sanitizers come with g++ but not with ziglang; without g++ that test runs on the plain build.
# MAKEFLAGS is unset because Ninja finds the jobserver of `make -j` in it and fails to open it.
build/sanitized/.done: $(RUNTIME) | $(VENV)/.installed-dev
	@mkdir -p $(@D)
	@unset MAKEFLAGS; if command -v g++ >/dev/null; then $(BIN)/python -m pip install -q cmake ninja && \
	  $(BIN)/cmake -S runtime -B $(@D) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	    -DCMAKE_CXX_COMPILER=g++ -DLARQ_GROUPNET_RUNTIME_SANITIZE=ON >/dev/null && \
	  $(BIN)/cmake --build $(@D) && echo $(CURDIR)/$(@D)/liblarq_groupnet_runtime.so > $@; \
	else : > $@; fi

runtime/dist/.done: $(RUNTIME) | $(VENV)/.installed-dev
	unset MAKEFLAGS; $(BIN)/python runtime/build_wheels.py runtime/dist
	@touch $@

build/networks/.done: runtime/tests/networks.py | $(VENV)/.installed-dev $(VENV)/.runtime
	PYTHONPATH=. $(BIN)/python runtime/tests/networks.py build/networks --large
	@touch $@
