# Everything a newcomer needs: `make demo` and `make test`. Python 3.10 or newer; PYTHON=… chooses another.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# CI pins what it runs; the ranges that users get are in pyproject.toml.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-warn-script-location --constraint constraints.txt

.PHONY: demo test test-slow test-all coverage check format docs radiomics mutation clean

demo: $(VENV)/.demo
	$(BIN)/rtresponsecam demo --out demo --overwrite

# What to run before a commit; statistics and long checks are marked slow.
test: $(VENV)/.test check
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

# The rest; RTRESPONSECAM_SLOW_UNTIL=$$(( $$(date +%s) + 600 )) begins none of them after ten minutes.
test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

# Everything.
test-all: $(VENV)/.test check
	$(BIN)/python -m pytest -n auto --dist loadfile

# Everything, with the coverage of the library and its floor; takes half as long again.
coverage: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term:skip-covered --cov-fail-under=95

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/codespell RTResponseCAM RTResponseCAMLib Docs Testing README.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation site in build/site; warnings are errors, and every internal link is checked.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file Docs/mkdocs.yml

# pyradiomics has no wheel after Python 3.9, and its source needs numpy before it builds and a C compiler.
# 3.0.1 builds up to Python 3.11; later versions need the development branch.
radiomics: $(VENV)/.demo
	$(PIP) setuptools wheel
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then \
	  $(PIP) --no-build-isolation 'pyradiomics==3.0.1'; \
	else \
	  $(PIP) 'pyradiomics @ git+https://github.com/AIM-Harvard/pyradiomics@8ed5793'; \
	fi
	$(BIN)/python -c 'import radiomics; print("pyradiomics", radiomics.__version__)'

# Does a test notice when a token changes? MODULES="dosimetry/dvh …" SAMPLE=20 (0: every mutant); goes on where it was.
mutation: $(VENV)/.test
	$(PIP) 'cosmic-ray>=8.3'
	$(BIN)/python Testing/Mutation/mutate.py $(MODULES) --sample $(or $(SAMPLE),20)

clean:
	rm -rf $(VENV) demo

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: the constraint then takes the build that this machine's index offers for it.
$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) 'torch'
	$(PIP) --editable '.[viewer]'
	touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(PIP) --editable '.[docs]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) --editable '.[viewer,test]'
	touch $@
