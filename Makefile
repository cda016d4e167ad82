# make demo: install, then the main job on the phantom.   make test: install, then every check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?= wcr-med

.PHONY: demo test test-slow test-lgg lint format install docker clean help

help:
	@echo "make demo       install into $(VENV) and run the main job on a phantom data set (minutes)"
	@echo "make test       install into $(VENV) and run linters, type checks and tests"
	@echo "make test-slow  the tests that take minutes or need much memory"
	@echo "make test-lgg   the tests on real LGG data: make test-lgg WCR_MED_LGG=/path/to/kaggle_3m"
	@echo "make docker     build the training image and the slim runtime image"

demo: install
	$(BIN)/wcr-med run --config configs/phantom.yaml --out runs/demo

test: install lint
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term

test-slow: install
	$(BIN)/python -m pytest -m slow

test-lgg: install
	WCR_MED_LGG="$(WCR_MED_LGG)" $(BIN)/python -m pytest -m lgg

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[train,dev]'
	@touch $@

docker:
	docker build --target train --tag $(IMAGE):train --build-arg COMMIT="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
	docker build --target runtime --tag $(IMAGE):runtime .

clean:
	rm -rf $(VENV) .cache runs
