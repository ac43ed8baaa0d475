# STACK is the OpenMMLab distribution: openmmlab (default) or onedl, the maintained forks. MMCV is lite (default), whose
# operators this project brings, or compiled: its own, from its sources. Each of the four has an environment of its own:
# .venv, .venv-onedl, .venv-compiled, .venv-onedl-compiled.
# TORCH=cpu takes a torch without CUDA libraries, from TORCH_INDEX=URL or where pip is configured to look; the environment
# keeps it until TORCH=default.
# ARGS is handed on, as in `make test ARGS='-k scan -x'`. PYTHON names the interpreter to make the environment with.
# JOBS is how many processes share the tests, one thread each.
STACK ?= openmmlab
MMCV ?= lite
JOBS ?= 2
venv := .venv$(if $(filter onedl,$(STACK)),-onedl)$(if $(filter compiled,$(MMCV)),-compiled)
python := $(venv)/bin/python

.DEFAULT_GOAL := help
.PHONY: help env demo test lint audit docs

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1  \t\2/p' Makefile

env:  ## install everything into .venv, compiling nothing, in about 3 minutes; nothing to do the second time
	@tools/setup_env.sh --stack $(STACK) --mmcv $(MMCV) --venv $(venv) $(if $(TORCH),--torch $(TORCH))

demo: env  ## train and test a detector and a segmentor on generated data, about 20 minutes on two cores
	@$(python) tools/demo.py $(ARGS)

test: env  ## run the tests
	@$(python) -m pytest -n $(JOBS) $(ARGS)

lint: env  ## check the code with ruff, its imports with import-linter, its public types with mypy
	@$(python) -m ruff check . $(ARGS)
	@$(venv)/bin/lint-imports --no-logo
	@$(python) -m mypy

audit: env  ## report known vulnerabilities of the installed packages; never fails
	@$(python) tools/dev/audit.py $(ARGS)

docs: env  ## build the documentation into site/; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --strict --quiet $(ARGS)
