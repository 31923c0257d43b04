# Everything a developer or a machine does with this repository. `make` lists the targets.
# Needs Python 3.11 or later and make; the rest is installed into .venv by the target that needs it.

VENV := .venv
BIN := $(VENV)/bin
# Another interpreter: make demo PYTHON=/path/to/python3.12
PYTHON ?=

DEMO_STAMP := $(VENV)/.installed-for-demo
TEST_STAMP := $(VENV)/.installed-for-test
# Not compiled at once: most of it is never imported. Python keeps what it compiles on import, also
# where the environment says otherwise: every start would else compile torch again.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt

# The first interpreter that is new enough and can make an environment. One that is only a stub (a
# version manager's shim, a distribution's python without ensurepip) is passed over.
define FIND_PYTHON
find_python() { \
  for candidate in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3 python); do \
    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
      echo "$$candidate"; return 0; \
    fi; \
  done; \
  return 1; \
}
endef

define NO_PYTHON
{ \
  echo "error: $(if $(PYTHON),PYTHON=$(PYTHON) is not,found no) Python 3.11 or later that can make environments (modules venv and ensurepip)."; \
  echo "  Install Python 3.11 (on Debian and Ubuntu: python3.11 and python3.11-venv), or say where it is:"; \
  echo "  make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; \
} >&2
endef

.DEFAULT_GOAL := help
.PHONY: help demo test check schema index docs locks wheel reference coverage bench faults browser trackers mutants standin compat accelerator clean \
  clean-all

help:  ## list the targets
	@echo "Targets:"
	@grep -hE '^[a-z-]+:.*  ## ' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*  ## ' '{ printf "  %-11s %s\n", $$1, $$2 }'

demo: $(DEMO_STAMP)  ## train a small network on handwritten digits (installs on the first call)
	@$(BIN)/trackside train examples/digits.yaml $(ARGS)

test: check  ## check, then all quick tests: what a change has to pass
	@# Process groups need both cores, so these come after the others, one at a time; and also when
	@# something else has failed.
	@failed=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not peers and not browser and not distributed" --durations=15 --durations-min=1 || failed=1; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 1 -m "distributed and not slow and not peers and not browser" --durations=15 --durations-min=1 || failed=1; \
	exit $$failed

check: $(TEST_STAMP)  ## lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	$(BIN)/mypy
	@# Its cache keeps how an import was resolved before the module it names existed.
	$(BIN)/lint-imports --no-cache

index: $(TEST_STAMP)  ## write callbacks/__init__.py again, after a callback was added, renamed or removed
	$(BIN)/trackside callbacks --index src/trackside/callbacks/__init__.py

schema: $(TEST_STAMP)  ## write trackside.schema.json again, after an option has changed
	$(BIN)/trackside schema > $@.new && mv $@.new trackside.schema.json

coverage: $(TEST_STAMP)  ## which lines and branches of src the quick tests of one process run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not peers and not browser and not distributed" --cov --cov-report=term:skip-covered $(ARGS)

bench: $(TEST_STAMP)  ## measure against a raw loop, as ratios
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks $(ARGS)

faults: $(TEST_STAMP)  ## the long campaigns: kills, damage, full disks, failing ranks
	@failed=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -p tests.faults.figures -m "not peers" tests/faults $(ARGS) || failed=1; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not peers" --ignore tests/faults tests || failed=1; \
	$(BIN)/python -m tests.dialects.mutants || failed=1; \
	exit $$failed

standin: $(TEST_STAMP)  ## the quick tests on an accelerator of the tests' own, which every machine has
	$(BIN)/python -m tests.quick_suite standin $(ARGS)

compat: $(TEST_STAMP)  ## the quick tests with VERSIONS="2.14.1 2.8.0@3.12" of torch and Python
	@test -n "$(VERSIONS)" || { echo 'Say which: make compat VERSIONS="2.14.1 2.8.0@3.12"'; exit 1; }
	$(BIN)/python -m tests.versions $(VERSIONS) $(ARGS)

# A machine with an accelerator has its own build of torch, and often no network: its Python is used
# as it is, in an environment of its own or not, with what it lacks from a folder of wheels.
INSTALL_BESIDE := .accelerator/bin/python -m pip install -q --disable-pip-version-check $(if $(WHEELS),--no-index --find-links "$(WHEELS)")
accelerator:  ## tests and benchmarks on a GPU, with the PYTHON there (WHEELS=folder where offline)
	@$(FIND_PYTHON); python=$$(find_python) || { $(NO_PYTHON); exit 1; }; \
	"$$python" -m venv .accelerator && \
	"$$python" -c 'import site; print("\n".join(site.getsitepackages()))' \
	  > "$$(.accelerator/bin/python -c 'import site; print(site.getsitepackages()[0])')/machine.pth" && \
	$(INSTALL_BESIDE) "setuptools>=77" && \
	$(INSTALL_BESIDE) --no-build-isolation -e ".[test]" && \
	.accelerator/bin/python -m tests.accelerator $(ARGS)

browser: $(TEST_STAMP)  ## reports and the site in a real browser (Debian: chromium and chromium-driver)
	@$(PIP_INSTALL) -e ".[browser,docs]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser $(ARGS)

dialects: $(TEST_STAMP)  ## callbacks that other frameworks ship, in environments with these
	$(BIN)/python -m tests.originals --keep $(ARGS)

TRACKERS := trackio dvclive ray
trackers: $(TEST_STAMP)  ## trackers whose packages are many, in environments with these
	$(BIN)/python -m tests.originals $(TRACKERS) --keep $(ARGS)

mutants: $(TEST_STAMP)  ## break what the dialects promise, one by one: a test has to notice each
	$(BIN)/python -m tests.dialects.mutants $(ARGS)

docs: $(TEST_STAMP)  ## the site of all pages, with reference and search, in build/site
	@$(PIP_INSTALL) -e ".[docs]"
	$(BIN)/sphinx-build -q -W --keep-going -b html -c docs/site . build/site
	@echo "build/site/index.html"

locks: $(TEST_STAMP)  ## write locks/ again, after a requirement or a pin has changed (ARGS=--upgrade: newer versions)
	@$(PIP_INSTALL) -e ".[locks]"
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m tests.locks $(ARGS)

wheel: $(TEST_STAMP)  ## the package in dist/: the same bytes from the same files
	@$(BIN)/python -m tests.wheels dist

reference: $(TEST_STAMP)  ## write docs/reference again, after a docstring or the help of a command has changed
	$(BIN)/trackside callbacks --pages docs/reference/callbacks
	$(BIN)/python -m docs.site.commands
	$(BIN)/python -m docs.site.python

clean:  ## remove caches and build leftovers (not .venv, not runs)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

clean-all: clean  ## clean, and remove .venv
	rm -rf $(VENV)

$(BIN)/python:
	@$(FIND_PYTHON); python=$$(find_python) || { $(NO_PYTHON); exit 1; }; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

# The stamps are inside .venv and as old as the last installation: a second call installs nothing,
# an edit of what is required installs the difference.
$(DEMO_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing trackside into $(VENV) (PyTorch is large: the first time takes a minute or more)"
	@$(PIP_INSTALL) -e ".[examples]"
	@touch $@

$(TEST_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing trackside and its test tools into $(VENV)"
	@$(PIP_INSTALL) -e ".[test]"
	@touch $(DEMO_STAMP) $@
