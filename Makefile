# `make run` and `make test` are all a fresh machine needs: Python 3.11 or newer and the package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := accounts admin_dashboard aichat credits
# Wheels only, each with a known hash: nothing is compiled here, and no package runs code while it is installed. The lock is
# complete, so pip resolves nothing: a release that came out since can't break a start. Python compiles what is imported, pip
# would compile all.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --no-input --no-compile --only-binary :all: --require-hashes --no-deps

# The whole suite runs on SQLite, what depends on the database on the others too: real servers, started by the tests. ARGS=tests
# runs all of it on each ENGINE.
ENGINE ?= sqlite postgres mongodb
ON_EACH_ENGINE = tests/admin_dashboard/reports tests/admin_dashboard/pages/test_pages.py tests/credits tests/databases \
	tests/payments tests/usage tests/test_isolation.py
# SQL is the same on PostgreSQL; MongoDB has queries of its own.
ON_postgres = tests/images/test_faults.py tests/images/test_webhooks.py
ON_mongodb = tests/accounts/test_invitations.py tests/accounts/test_key_limits.py tests/accounts/test_leaving.py \
	tests/accounts/test_member_limits.py tests/accounts/test_teams.py tests/admin_dashboard/api tests/chat/test_chat.py \
	tests/chat/test_interruptions.py tests/images tests/test_commands.py tests/test_hostile_values.py
# For 2 cores: some tests wait for servers, a second or more.
WORKERS ?= 3
SELECTED = $(or $(ARGS),$(if $(filter-out sqlite,$(engine)),$(ON_EACH_ENGINE) $(ON_$(engine))))
# Some tests wait for what a saturated machine gives late: only what fails alone too is a failure.
ALONE = $(BIN)/python -m pytest --last-failed --last-failed-no-failures none
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup

.PHONY: help run install test bench bench-ledger bench-http bench-latency bench-slow trace clients contract upgrade screenshots soak lint style types format build lock sbom release audit clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: $(VENV)/.runtime ## install, set up, and serve on http://127.0.0.1:8000 (or PORT=…)
	@$(BIN)/python manage.py quickstart
	@exec $(BIN)/gunicorn aichat.asgi:application

install: $(VENV)/.runtime ## the packages of a server into .venv, each by its hash; again after each new version

test: $(VENV)/.development ## every test; ENGINE=postgres for one database, ARGS=tests/chat for some
	@$(foreach engine,$(ENGINE),echo "--- $(engine)" && export TEST_DATABASE_URL=$(engine) && { $(PYTEST) $(SELECTED) || \
		{ echo "--- $(engine): what failed, once more and alone" && $(ALONE) $(SELECTED); }; } &&) true

soak: $(VENV)/.development ## 500 streams against failing providers; 200 pictures while workers are killed (SOAK_JOBS=…)
	@SOAK_STREAMS=500 $(BIN)/python -m pytest tests/soak -q $(ARGS)
	@$(BIN)/python -m pytest tests/soak/images.py -q $(ARGS)

.PHONY: storm
storm: $(VENV)/.development ## 10,000 messages of 1,000 payments, tripled and shuffled, while workers are killed; ENGINE=postgres for one database
	@$(foreach engine,$(ENGINE),echo "--- $(engine)" && TEST_DATABASE_URL=$(engine) $(BIN)/python -m pytest tests/soak/payments.py -q -n0 $(ARGS) &&) true

trace: $(VENV)/.development ## calls, files, changes of thread of seven kinds of request; ARGS=-vv names each function
	@$(BIN)/python -m pytest tests/test_trace.py -q -n0 -s $(ARGS) 2>&1 | grep -v '"time"'

# Agents and SDKs from npm, versions pinned; npm keeps scripts of packages from running, so Claude Code's is run here.
clients: $(VENV)/.development ## the clients of docs/CLIENTS.md against the product: needs node and npm; ARGS=Codex for one
	@mkdir -p var/clients && cp tests/clients/package.json var/clients/
	@npm install --prefix var/clients --no-package-lock --no-audit --no-fund --loglevel=error
	@cd var/clients/node_modules/@anthropic-ai/claude-code && node install.cjs
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python var/clients/python
	@$(BIN)/uv pip install --quiet --python var/clients/python/bin/python --only-binary :all: -r tests/clients/requirements.txt
	@$(BIN)/python -m tests.clients.run var/clients/node_modules var/clients/python/bin/python $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.development ## try to break every promise of docs/RELIABILITY.md on three databases, and print the table
	@$(BIN)/python -m tests.soak.chaos

.PHONY: cluster
cluster: $(VENV)/.development ## three hosts behind HAProxy restarted, frozen, cut off, with wrong clocks, under load, in ten minutes; ENGINE=mongodb, ARGS="--rate 20 --streams 40" for small machines
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m tests.soak.cluster --engine $(or $(if $(findstring command line,$(origin ENGINE)),$(ENGINE)),postgres) $(ARGS)

upgrade: $(VENV)/.development ## an earlier version's data migrated, and its code on the new tables: FROM=<commit>; ENGINE=postgres for one database
	@$(BIN)/python -m tests.upgrade $(FROM) $(if $(findstring command line,$(origin ENGINE)),$(ENGINE))

contract: $(VENV)/.development ## five minutes of requests of every kind to every operation, as USER and as ADMIN
	@$(BIN)/python -m pytest tests/contract.py -q $(ARGS)

screenshots: $(VENV)/.development ## the pictures of docs/images, from demo data
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m tests.screenshots

bench: bench-ledger bench-http ## how fast credits move and chats are answered, against bare statements and LiteLLM's proxy

bench-ledger: $(VENV)/.development ## the ledger alone
	@$(BIN)/python -m tests.benchmarks.ledger $(ARGS)

bench-http: $(VENV)/.development ## chats alone; writes docs/BENCHMARKS.md in about 15 minutes, ARGS=--quick prints in 3
	@$(BIN)/python -m tests.benchmarks.http $(ARGS)

bench-latency: $(VENV)/.development ## latency added at rates from 5 to 500 a second; writes its part of docs/BENCHMARKS.md in about 25 minutes, ARGS=--quick prints in 3
	@$(BIN)/python -m tests.benchmarks.latency $(ARGS)

.PHONY: bench-sizing
bench-sizing: $(VENV)/.development ## how databases grow; writes the table of docs/deployment/sizing.md in some minutes, ARGS=--keep-growth from docs/BENCHMARKS.md alone
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m tests.benchmarks.sizing $(ARGS)

bench-slow: $(VENV)/.development ## what a thousand slow connections cost a worker and an honest client, in about a minute and a half
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m tests.benchmarks.slow_connections

lint: types style ## style, types, templates, migrations, deployment settings

style: $(VENV)/.development ## all of lint but the types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@git ls-files '*.html' | xargs -r $(BIN)/djlint --check --lint --quiet
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@DJANGO_SETTINGS_MODULE=aichat.settings HTTPS=true $(BIN)/python manage.py check --deploy --fail-level WARNING

types: $(VENV)/.development ## mypy, strict
	@$(BIN)/mypy .

format: $(VENV)/.development ## mend the style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@git ls-files '*.html' | xargs -r $(BIN)/djlint --reformat --quiet || true

build: $(VENV)/.runtime ## prove that it starts as deployed, with the runtime packages alone; build the image where Docker runs
	@$(BIN)/python -m compileall -q $(PACKAGES) manage.py gunicorn.conf.py
	@$(BIN)/python manage.py check
	@$(BIN)/gunicorn --check-config aichat.asgi:application
	@if docker info >/dev/null 2>&1; then $(MAKE) image; else echo "No Docker here: the image was not built."; fi

# podman and buildah leave out the health check unless they are told to write Docker's format.
.PHONY: image
image: ## build the image `aichat`, by Docker, else podman, else buildah; ARGS="--build-arg BASE=registry.example.com/python:3.13-slim"
	@if docker info >/dev/null 2>&1; then docker build --tag aichat $(ARGS) .; \
	elif command -v podman >/dev/null; then podman build --format docker --tag aichat $(ARGS) .; \
	elif command -v buildah >/dev/null; then buildah build --format docker --tag aichat $(ARGS) .; \
	else echo "An image needs a Docker that answers, podman, or buildah (apt-get install buildah)."; exit 1; fi

sbom: $(VENV)/.runtime ## the bill of materials (CycloneDX) of the runtime packages, into var/sbom.json
	@mkdir -p var
	@$(BIN)/python -m tools.sbom > var/sbom.json && echo "var/sbom.json"

RELEASE = var/release
release: $(VENV)/.development ## check the version, build sdist and wheel, with the bill of materials and checksums, into var/release; TAG=v1.2.0
	@$(BIN)/python -m tools.release check $(TAG)
	@rm -rf $(RELEASE) && $(BIN)/uv build --quiet --out-dir $(RELEASE) && rm -f $(RELEASE)/.gitignore
	@$(BIN)/python -m tools.release wheel $(RELEASE)/*.whl
	@$(BIN)/python -m tools.sbom > $(RELEASE)/sbom.json
	@$(BIN)/python -m tools.release notes > var/notes.md
	@cd $(RELEASE) && sha256sum * > SHA256SUMS && cat SHA256SUMS

.PHONY: docs
docs: $(VENV)/.development ## the documentation as a site that needs no network, into var/site; a broken link or anchor fails
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python var/zensical
	@$(BIN)/uv pip install --quiet --python var/zensical/bin/python --only-binary :all: --require-hashes -r requirements-docs.txt
	@$(BIN)/python -m tools.docs_site
	@var/zensical/bin/zensical build --strict --clean

audit: $(VENV)/.development ## ask the advisory database about the locked packages; skipped without a network
	@if $(BIN)/python -c 'import urllib.request as u; u.urlopen("https://api.osv.dev/v1/vulns/OSV-2020-111", timeout=5)' 2>/dev/null; \
	then $(BIN)/uv tool run pip-audit --vulnerability-service osv --requirement requirements-monitoring.txt --disable-pip --require-hashes; \
	else echo "No network here: the packages were not compared with the advisory database."; fi

lock: $(VENV)/.development ## compute requirements*.txt from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --quiet --output-file requirements.txt
	@$(BIN)/uv pip compile pyproject.toml --extra otel --extra sentry --constraint requirements.txt --universal --no-strip-extras \
		--python-version 3.11 --generate-hashes --custom-compile-command "make lock" --quiet --output-file requirements-monitoring.txt
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --quiet --output-file requirements-dev.txt
	@$(BIN)/uv pip compile --group docs --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --quiet --output-file requirements-docs.txt

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# pip's own report is hundreds of lines: one dot a package says that it is alive. The stamp is made by success alone.
define install
	@echo "Installing the $$(grep -c '^[^ #].*==' $<) packages of $<; the first time takes a minute."
	@rm -f $@; { $(PIP) -r $< && touch $@; } | while read -r line; do \
		case $$line in Collecting*) printf .;; Installing*) printf ' unpacking ';; esac; \
	done; echo; test -e $@
endef

$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	$(install)

$(VENV)/.development: requirements-dev.txt | $(VENV)/bin/python
	$(install)
	@touch $(VENV)/.runtime

clean: ## forget the environment and caches (data in var/ stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
