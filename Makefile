# `make run` and `make test` are all a fresh machine needs: Python 3.11 or newer and the package registry.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes
export PORT

# The whole suite runs on SQLite, what depends on the database on the others too: real servers, started by the tests.
ENGINE ?= sqlite postgres
ON_EACH_ENGINE = $(wildcard tests/accounts tests/admin_dashboard tests/chat tests/credits tests/databases tests/images \
	tests/permissions tests/usage)
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

.PHONY: run test lint format types lock clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: $(VENV)/.runtime ## install, set up, and serve on http://127.0.0.1:$PORT
	@$(BIN)/python manage.py quickstart --address http://127.0.0.1:$(PORT)
	@exec $(BIN)/gunicorn aichat.asgi:application

test: $(VENV)/.development ## every test; ENGINE=postgres for one database, ARGS=tests/chat for some
	@$(foreach engine,$(ENGINE),echo "--- $(engine)" && TEST_DATABASE_URL=$(engine) $(PYTEST) \
		$(or $(ARGS),$(if $(filter-out sqlite,$(engine)),$(ON_EACH_ENGINE))) &&) true

lint: $(VENV)/.development types ## style, types, templates, migrations, deployment settings
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@git ls-files '*.html' | xargs -r $(BIN)/djlint --check --lint --quiet
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@HTTPS=true $(BIN)/python manage.py check --deploy --fail-level WARNING

types: $(VENV)/.development ## mypy, strict
	@$(BIN)/mypy .

format: $(VENV)/.development ## mend the style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(VENV)/.development ## compute requirements*.txt from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --quiet --output-file requirements.txt
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --quiet --output-file requirements-dev.txt

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	@echo "Installing the packages of requirements.txt …"
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing the packages of requirements-dev.txt …"
	@$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.runtime

clean: ## forget the environment and caches (data in var/ stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
