# make demo: install, then the main job on the phantom.   make test: install, then every check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?= wcr-med

NATIVE := wcr_med/native/CMakeLists.txt wcr_med/native/exports.map $(wildcard wcr_med/native/src/*.* wcr_med/native/src/*/*)

.PHONY: demo test test-slow test-lgg lint format install docker clean help

help:
	@echo "make demo       install into $(VENV) and run the main job on a phantom data set (minutes)"
	@echo "make test       install into $(VENV) and run linters, type checks and tests"
	@echo "make test-slow  the tests that take minutes or need much memory"
	@echo "make test-lgg   the tests on real LGG data: make test-lgg WCR_MED_LGG=/path/to/kaggle_3m"
	@echo "make install    install into $(VENV); again after a change of C++ sources, to build the accelerator anew"
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

$(VENV)/.installed: pyproject.toml $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@rm -f wcr_med/native/libwcr_med_ops.*  # so that a failed build leaves no old library behind
	$(BIN)/python -m pip install --quiet --editable '.[train,dev]'
	@$(BIN)/python -c 'from wcr_med.native import is_available; print("accelerator:", "built" if is_available() else "absent, for want of a C++17 compiler")'
	@touch $@

docker:
	docker build --target train --tag $(IMAGE):train --build-arg COMMIT="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
	docker build --target runtime --tag $(IMAGE):runtime .

clean:
	rm -rf $(VENV) .cache build runs wcr_med/native/libwcr_med_ops.*
