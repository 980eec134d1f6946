# make demo, make test and make check set up what they need by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto
# Ledgers flush at each commit, and those of tests need not outlive the machine. So tests write to a
# disk in memory, where that has room.
MEMORY_DISK = $(shell [ "$$(df --output=avail -B1G /dev/shm 2>/dev/null | tail -n 1)" -ge 6 ] \
  2>/dev/null && [ -w /dev/shm ] && ! grep -q ' /dev/shm .*noexec' /proc/mounts && echo /dev/shm)
FOR_TESTS = $(if $(MEMORY_DISK),TMPDIR=$(MEMORY_DISK))

.DEFAULT_GOAL := help
.PHONY: help schemas demo fleet keys standin test test-versions check format proto lock bench bench-fleet soak property simulate conformance prices clients crashes fleet-kills rotations mutants siege clean deploy-tools baseline dist docs quotes

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/ready: requirements-dev.lock pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

demo: .venv/ready ## Run the main job once: sidecar, sample app, stand-in for Mistral
	@PYTHONPATH=tests $(BIN)/python -m demo

keys: .venv/ready ## Run the tour of docs/keys.md, on a stand-in for Mistral
	@PYTHONPATH=tests $(BIN)/python -m demo.keys

fleet: .venv/ready ## Show a fleet in a minute: five sidecars, one budget on PostgreSQL, kills and an outage
	@$(FOR_TESTS) PYTHONPATH=tests $(BIN)/python -m demo.fleet

standin: .venv/ready ## Start a stand-in for Mistral, its models and keys, to try things by hand
	@PYTHONPATH=tests $(BIN)/python -m demo.standin

test: .venv/ready ## Run the tests
	@$(FOR_TESTS) $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

test-versions: .venv/ready ## Run them on every Python that is here; FAST=1: a part, on the oldest and newest beside .venv
	@$(FOR_TESTS) PYTHONPATH=tests $(BIN)/python -m versions --jobs $(JOBS) $(if $(FAST),--fast)

check: .venv/ready ## Lint, types, import rules, and whether the generated code is current
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/sidecar check policies --strict
	$(BIN)/sidecar fmt policies --check
	$(BIN)/sidecar test policies --coverage
	@mkdir -p build/proto && $(MAKE) -s proto OUT=build/proto
	diff -r -x '__*' build/proto/sidecar/v1 sidecar/v1
	diff -r -x '__*' build/proto/clients/python/mistral_spend/v1 clients/python/mistral_spend/v1
	diff -r -x '__*' build/proto/sidecar/envoy sidecar/envoy

dist: .venv/ready ## Build the wheels and source distributions of server and client, and check them
	@rm -rf build/dist
	$(BIN)/hatchling build -d build/dist
	cd clients/python && $(CURDIR)/$(BIN)/hatchling build -d $(CURDIR)/build/dist
	$(BIN)/twine check --strict build/dist/*
	$(BIN)/check-wheel-contents build/dist/mistral_spend_sidecar-*.whl
	$(BIN)/check-wheel-contents --no-config --toplevel mistral_spend --package clients/python/mistral_spend build/dist/mistral_spend_client-*.whl

build/docs/ready: requirements-docs.lock
	$(PYTHON) -m venv build/docs/venv
	build/docs/venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@

docs: build/docs/ready ## Build the documentation site into build/docs/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 build/docs/venv/bin/mkdocs build --strict

OUT ?= .
proto: .venv/ready ## Generate the code of proto/
	@$(BIN)/python proto/generate.py $(OUT)

schemas: .venv/ready ## Rewrite the JSON Schemas of data files and fixtures
	@$(BIN)/sidecar schema --write policies
	@$(BIN)/sidecar schema --write sidecar/starter

baseline: .venv/ready ## Promise what proto/ says now: a release does
	@PYTHONPATH=tests $(BIN)/python -m support.buf

quotes: .venv/ready ## Update the programs that docs/languages.md quotes
	@PYTHONPATH=tests $(BIN)/python -m clients.quotes

format: .venv/ready ## Format the code and fix what can be fixed automatically
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

prices: .venv/ready ## Compare policies/models.yaml with the list of genai-prices
	@PYTHONPATH=tests $(BIN)/python -m prices

deploy-tools: .venv/ready ## Install what checks the Dockerfile and deploy/
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-deploy.lock
	command -v kustomize || kubectl kustomize --help | grep -q load-restrictor || GOBIN=$(CURDIR)/$(BIN) go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1

lock: ## Update the lock files (needs uv)
	uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-emit-package mistral-spend-client --extra fleet -o requirements.lock pyproject.toml
	uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-emit-package mistral-spend-client --group dev -o requirements-dev.lock pyproject.toml
	uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-emit-package mistral-spend-client --group deploy -o requirements-deploy.lock
	uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --group docs -o requirements-docs.lock

property: .venv/ready ## The long run of the property tests, with random seeds
	$(FOR_TESTS) $(BIN)/python -m pytest -q -n $(JOBS) -m property --hypothesis-profile=long

conformance: .venv/ready ## Update the lists of cases in which the CEL evaluators differ
	@PYTHONPATH=tests $(BIN)/python -m conformance

SEEDS ?= 10000
FIRST ?= 0
simulate: .venv/ready ## Simulate SEEDS=10000 worlds from FIRST=0 on; SEED=1234 shows one step by step
	@PYTHONPATH=tests $(BIN)/python -m simulation \
	  $(if $(SEED),--seed $(SEED),--first $(FIRST) --seeds $(SEEDS))

clients: .venv/ready ## Build a sample program in each language, and show which cases each passes
	@$(BIN)/python -m pytest -q -n $(JOBS) tests/clients

KILLS ?= 300
crashes: .venv/ready ## Kill -9 the sidecar under load, KILLS=300 times on one ledger
	@PYTHONPATH=tests $(BIN)/python -m crashes --kills $(KILLS)

SERVERS ?= 20
fleet-kills: .venv/ready ## Kill -9 sidecars of a fleet KILLS=200 times, and PostgreSQL SERVERS=20 times; no ceiling may be passed
	@$(FOR_TESTS) PYTHONPATH=tests $(BIN)/python -m fleet.kills --pods $(if $(filter file,$(origin KILLS)),200,$(KILLS)) --servers $(SERVERS)

rotations: .venv/ready ## Kill -9 a rotation of a key at every boundary, and show what was left
	@PYTHONPATH=tests $(BIN)/python -m rotations

mutants: .venv/ready ## Break each promise on purpose, or ONLY="some of them"; tests have to notice
	@$(FOR_TESTS) PYTHONPATH=tests $(BIN)/python -m mutants $(ONLY)

ROWS ?= 100000
FORMAT ?= text
bench: .venv/ready ## What a call costs, beside an empty handler, Redis and Cerbos; AGAINST=REV: beside another commit
	@PYTHONPATH=tests $(BIN)/python -m bench --rows $(ROWS) $(if $(FILLED),--filled $(FILLED)) \
	  $(if $(AGAINST),--against $(AGAINST)) --format $(FORMAT)

bench-fleet: .venv/ready ## What a fleet costs and loses, beside one contended row and sidecars alone; FAST=1: in a minute
	@PYTHONPATH=tests $(BIN)/python -m bench.fleet $(if $(FAST),--fast) --format $(FORMAT)

MINUTES ?= 10
soak: .venv/ready ## Load for MINUTES=10: memory, and the longest wait of a call
	@PYTHONPATH=tests $(BIN)/python -m bench.soak --minutes $(MINUTES) --format $(FORMAT)

siege: .venv/ready ## Hostile input for MINUTES=10 beside an honest caller; ONLY=an attack, SEED=1234, LIST=1
	@PYTHONPATH=tests $(BIN)/python -m siege --minutes $(MINUTES) $(if $(ONLY),--only "$(ONLY)") \
	  $(if $(SEED),--seed $(SEED)) $(if $(LIST),--list)

clean: ## Remove what the other targets made
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
