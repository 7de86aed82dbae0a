# `make demo` is all a newcomer needs: python3 (3.11 or newer) with its venv module, nothing else.
#   make demo ARGS='--query "how do I copy a directory tree"'
#   make test ARGS='tests/unit -x'

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' 2>/dev/null)
PACKAGE := pyproject.toml hatch_build.py $(WEB_SOURCES)

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench lock clean

help: ## say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

demo: $(VENV)/.ready ## serve the demo, or ask it one question with ARGS='--query "…"'
	@$(BIN)/reflow demo $(ARGS)

test: $(VENV)/.ready-dev ## run every test; pytest's arguments in ARGS
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.ready-dev ## lint, formatting, types (Python and TypeScript), structure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/python -m tests.support.node web run check
	$(BIN)/python -m pytest -q tests/unit/test_structure.py tests/test_docs.py

format: $(VENV)/.ready-dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-dev ## measure; writes benchmarks/results.md (vector search: .venv/bin/python -m benchmarks.vectors)
	$(BIN)/python -m benchmarks $(ARGS)
	@echo "vector search beside other engines, about half an hour: $(BIN)/python -m benchmarks.vectors"

lock: ## renew the two lock files after a change of pyproject.toml (needs uv)
	uv lock --no-managed-python
	uv export --frozen --no-emit-project --no-header --no-annotate -q --extra rag --no-dev -o requirements.lock
	uv export --frozen --no-emit-project --no-header --no-annotate -q --all-extras -o requirements-dev.lock

clean: ## remove everything that was built or installed here
	rm -rf $(VENV) .cache build dist src/reflow/_web web/node_modules

# What the demo needs, and what the checks need on top; each installed once, again only when its list changes.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "reflow needs Python 3.11 or newer; $(PYTHON) is older. Name another: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv (as root), then again." >&2; exit 1; }
	@echo "setting up $(VENV)…"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.lock $(PACKAGE) | $(BIN)/python
	@echo "installing what the lock file names, and building the page…"
	@$(PIP) install --no-compile --no-deps -e . & page=$$!; \
	  $(PIP) install --no-compile --require-hashes -r requirements.lock && wait $$page || { kill $$page 2>/dev/null; exit 1; }
	@test -f src/reflow/_web/index.html || echo "the page could not be built; .venv/bin/pip install -e . says why" >&2
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@echo "installing what the tests and checks need…"
	@$(PIP) install --no-compile --require-hashes -r requirements-dev.lock
	@touch $@
