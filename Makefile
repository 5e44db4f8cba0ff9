# Everything a person needs: `make demo`, `make test`. Each target makes .venv itself; needs Python 3.11 or newer.

ARGS ?=
VENV := .venv
INSTALLED := $(VENV)/.installed
FIND_PYTHON := for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$python; exit; fi; done

.DEFAULT_GOAL := help
.PHONY: demo test serve lint bench clean help

demo: $(INSTALLED) ## Watch a petition to its audited count, and a month of appeals (ARGS=--exit ends after it)
	$(VENV)/bin/aiqyn demo $(ARGS)

test: $(INSTALLED) ## Run every test (ARGS="-k name" for some)
	$(VENV)/bin/pytest -n 2 $(ARGS)

serve: $(INSTALLED) ## Begin a ledger where there is none, and serve it (embedded, or AIQYN_DATABASE_URL)
	$(VENV)/bin/aiqyn init
	$(VENV)/bin/aiqyn serve $(ARGS)

lint: $(INSTALLED) ## Check style, format and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(INSTALLED) ## Measure appends, signatures over HTTP, rebuilds and appeals on this machine
	$(VENV)/bin/python -m bench $(ARGS)

clean: ## Remove what was built, .venv too; data in AIQYN_HOME stays
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

$(INSTALLED): pyproject.toml
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then echo "aiqyn needs Python 3.11 or newer: install it, or name it by make PYTHON=..." >&2; exit 1; fi; \
	test -x $(VENV)/bin/python || "$$python" -m venv $(VENV) || \
	{ echo "$$python cannot make $(VENV): on Debian and Ubuntu, install the package python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@echo "Installing into $(VENV) …"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
