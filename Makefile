# make demo: install, then the main job on the phantom.   make test: install, then every check.
PYTHON ?= python3
VENV ?= .venv
MINIMUM ?= .venv-minimum
BIN := $(VENV)/bin
IMAGE ?= wcr-med
BASE ?= python:3.12-slim-bookworm
CUDA_BASE ?= nvidia/cuda:13.0.2-base-ubuntu24.04

LOCKED ?= yes

NATIVE := wcr_med/native/CMakeLists.txt wcr_med/native/exports.map $(wildcard wcr_med/native/src/*.* wcr_med/native/src/*/*)

# One resolution for every platform and Python 3.11 to 3.13; a pin stays until UPGRADE=1 or pyproject.toml moves it.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
IMAGE_FACTS := --build-arg COMMIT="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
	--build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"

.PHONY: demo test test-slow test-lgg test-minimum lint format install lock docker docker-cuda rehearse-image clean help

help:
	@echo "make demo       install into $(VENV) and run the main job on a phantom data set (minutes)"
	@echo "make test       install into $(VENV) and run linters, type checks and tests"
	@echo "make test-slow  the tests that take minutes or need much memory"
	@echo "make test-lgg   the tests on real LGG data: make test-lgg WCR_MED_LGG=/path/to/kaggle_3m"
	@echo "make test-minimum  the fast tests with the lowest versions that pyproject.toml allows, in $(MINIMUM) (several GB)"
	@echo "make install    install into $(VENV), with the versions of requirements/dev.lock (LOCKED= for the newest); again after a change of C++ sources, to build the accelerator anew"
	@echo "make lock       pin what the images install again, in requirements/; UPGRADE=1 takes the newest releases"
	@echo "make docker     build the training image and the slim runtime image; make docker-cuda: on a CUDA base"
	@echo "make rehearse-image  build both without a Docker engine and run the main job in them (as root, Debian)"

demo: install
	$(BIN)/wcr-med run --config configs/phantom.yaml --out runs/demo

test: install lint
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile --cov --cov-report=term

test-slow: install
	$(BIN)/python -m pytest -m slow

test-lgg: install
	WCR_MED_LGG="$(WCR_MED_LGG)" $(BIN)/python -m pytest -m lgg

test-minimum: install
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(MINIMUM)
	$(BIN)/uv pip install --quiet --python $(MINIMUM)/bin/python --resolution lowest-direct --editable '.[train,dev]'
	$(MINIMUM)/bin/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile

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

$(VENV)/.installed: pyproject.toml requirements/dev.lock $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@rm -f wcr_med/native/libwcr_med_ops.*  # so that a failed build leaves no old library behind
	@# The locked versions, as constraints: pip takes no hashes beside an editable installation. LOCKED= takes the newest.
	@sed -n '$(if $(LOCKED),s/^\([A-Za-z0-9][^ ]*==[^\]*[^ \]\) *\\*$$/\1/p)' requirements/dev.lock > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[train,dev]'
	@$(BIN)/python -c 'from wcr_med.native import is_available; print("accelerator:", "built" if is_available() else "absent, for want of a C++17 compiler")'
	@touch $@

lock: install
	$(LOCK) --extra train --extra dicom --extra mlflow --extra postgresql pyproject.toml --output-file requirements/train.lock
	$(LOCK) --constraint requirements/train.lock pyproject.toml --output-file requirements/runtime.lock
	$(LOCK) --constraint requirements/train.lock --extra dicom pyproject.toml --output-file requirements/dicom.lock
	$(LOCK) --constraint requirements/train.lock --extra train --extra dev pyproject.toml --output-file requirements/dev.lock
	$(LOCK) requirements/build.in --output-file requirements/build.lock

docker:
	docker build --target train --tag $(IMAGE):train --build-arg BASE="$(BASE)" $(IMAGE_FACTS) .
	docker build --target runtime --tag $(IMAGE):runtime --build-arg BASE="$(BASE)" $(IMAGE_FACTS) .

docker-cuda:
	docker build --target train --tag $(IMAGE):train-cuda --build-arg BASE="$(CUDA_BASE)" $(IMAGE_FACTS) .

rehearse-image:
	deploy/rehearse_image.sh

clean:
	rm -rf $(VENV) $(MINIMUM) .cache build runs wcr_med/native/libwcr_med_ops.*
