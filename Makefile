# Every command there is. Each does its own set-up; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where generated code goes.
OUT ?= .
PROTOS := $(wildcard protos/buf/validate/*.proto protos/corkboard/*/v1/*.proto)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types protos descriptors docs audit bench lock clean

help: ## List the commands.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: $(VENV)/.ready ## Make .venv and install everything from requirements.lock.

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Corkboard needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## From nothing to explained recommendations: MovieLens through all three services.
	$(BIN)/corkboard demo

test: setup ## Run the whole test suite, a few files side by side.
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: setup ## Check style: ruff (all rules), buf lint.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/buf lint

types: setup ## Check types: mypy --strict.
	$(BIN)/mypy

protos: setup ## Generate the stubs from protos/ (committed; a test proves them fresh).
	$(BIN)/python -m grpc_tools.protoc -Iprotos \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--python_out=$(OUT) --grpc_python_out=$(OUT) --mypy_out=quiet:$(OUT) --mypy_grpc_out=quiet:$(OUT) $(PROTOS)
	[ "$(OUT)" != . ] || $(MAKE) --no-print-directory descriptors OUT=k8s/components/json-gateway

descriptors: setup ## Write the contract as OUT/corkboard.binpb, for the JSON gateway and for tools without reflection.
	$(BIN)/python -m grpc_tools.protoc -Iprotos -I$$($(BIN)/python -c 'import google.rpc as m; print(m.__path__[0])')/../.. \
		--include_imports --descriptor_set_out=$(OUT)/corkboard.binpb $(PROTOS) \
		google/rpc/error_details.proto google/rpc/status.proto

docs: setup ## Write docs/reference/ from settings and contract (committed; a test proves it fresh).
	$(BIN)/python docs/generate_reference.py

audit: setup ## Ask whether a locked package has a known vulnerability; list the licences.
	k8s/checks/run audit
	k8s/checks/run licences

bench: setup ## Measure everything and write benchmarks/RESULTS.md (about half an hour on a quiet machine).
	$(BIN)/python benchmarks/run.py

lock: setup ## Resolve the dependencies anew into requirements.lock.
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --extra evaluate --extra images --extra tracing --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet --upgrade -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group image --extra tracing --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet -c requirements.lock -o k8s/image/requirements.lock

clean: ## Remove the environment and caches.
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache build dist
