# Every target makes .venv when it is missing; the second time it is there at once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SCALE  := $(VENV)/.scale
SRC    := valuesim_dspy evals optimize tests benchmarks notebooks

# make demo MODEL=<any LiteLLM model string> SURVEY=<file> runs the same job on your own.
MODEL    ?=
API_BASE ?=
SURVEY   ?=
SET      ?=
DEMO_SET := $(if $(MODEL),--set task_lm.model=$(MODEL)) \
            $(if $(API_BASE),--set task_lm.api_base=$(API_BASE)) \
            $(if $(SURVEY),--set data.survey=$(SURVEY)) $(SET)

.PHONY: demo test test-all check audit fix ui clean venv
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[dev,survey]"
	touch $@

# What runs on more than one machine is heavy, and needed by its own tests only.
$(SCALE): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[scale,postgres]"
	touch $@

venv: $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m optimize compile optimize/jobs/demo.toml $(DEMO_SET)

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n 2

test-all: $(SCALE)
	$(BIN)/python -m pytest -n 2

check: $(STAMP)
	$(BIN)/ruff format --check $(SRC)
	$(BIN)/ruff check $(SRC)
	$(BIN)/mypy

audit: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[audit]"
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

fix: $(STAMP)
	$(BIN)/ruff format $(SRC)
	$(BIN)/ruff check --fix $(SRC)

ui: $(STAMP)
	$(BIN)/valuesim ui

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
