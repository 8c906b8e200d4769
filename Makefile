# Both `make demo` and `make test` do all their own set-up: they need Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What the packages under plugins/ are made of: they are installed as wheels, so a change needs a new wheel.
PLUGINS := $(wildcard plugins/*/pyproject.toml)
PLUGIN_SOURCES := $(PLUGINS) $(wildcard $(foreach it,$(dir $(PLUGINS)),$(it)mmeframe_*/*.py $(it)mmeframe_*/*/*))
# Every document, server, environment and build is for test-all; one of each kind for test, too.
QUICK := smoke or not (process or build or stress)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help demo test test-rest test-all lint bench stress fuzz test-hydra-next test-torch test-spark constraints clean

help:
	@echo "make demo             train, build, score and serve a router on real data"
	@echo "make test             run the quick tests, and one of each kind of the slow ones; ARGS=... for pytest"
	@echo "make test-all         run all tests, plugins' tests included"
	@echo "make lint             ruff, mypy, import-linter"
	@echo "make bench            benchmarks, each beside its baseline"
	@echo "make stress           ten minutes of failures, evictions and interruptions; ARGS=--seconds=60 for one"
	@echo "make fuzz             20,000 hostile requests; CASES=100000 SEED=7 make fuzz for more, and for others"
	@echo "make test-hydra-next  the config tests on Hydra's next release candidate"
	@echo "make test-torch       the test of a PyTorch sub-model, in an environment of its own"
	@echo "make test-spark       the test of nulls through Spark, in an environment of its own; needs Java"
	@echo "make constraints      renew constraints.txt from the newest releases"

$(BIN)/.ready: pyproject.toml constraints.txt $(PLUGIN_SOURCES)
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mmeframe needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
# With all processors, where pip takes one. What a library ships for other Pythons may not compile.
	-$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib
	rm -rf $(VENV)/wheels
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(VENV)/wheels $(dir $(PLUGINS))
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(VENV)/wheels/*.whl
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(VENV)/wheels/*.whl
	touch $@

demo: $(BIN)/.ready
	$(BIN)/mmeframe demo

# Two workers share the processors: threads of numeric libraries, in them and in what they start, would only wait for
# one another.
test test-rest: export OMP_NUM_THREADS := 1
test test-rest: export OPENBLAS_NUM_THREADS := 1
# Tests start many processes: each would compile mmeframe anew where Python may not keep bytecode.
test: $(BIN)/.ready
	$(BIN)/python -m compileall -q mmeframe
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m '$(QUICK)' $(ARGS)

test-rest: $(BIN)/.ready
	$(BIN)/python -m compileall -q mmeframe
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not ($(QUICK))' $(ARGS)

# Each test once.
test-all:
	$(MAKE) test
	$(MAKE) test-rest

lint: $(BIN)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(BIN)/.ready
	$(BIN)/python -m tests.benchmarks

stress: $(BIN)/.ready
	$(BIN)/python -m tests.benchmarks.stress $(ARGS)

fuzz: $(BIN)/.ready
	$(BIN)/python -m tests.fuzz --cases $(or $(CASES),20000) --seed $(or $(SEED),0)

test-hydra-next:
	test -x .venv-hydra-next/bin/python || $(PYTHON) -m venv .venv-hydra-next
	.venv-hydra-next/bin/pip install --quiet --disable-pip-version-check -e '.[test]'
	.venv-hydra-next/bin/pip install --quiet --disable-pip-version-check --pre --upgrade 'hydra-core>=1.4.0rc1,<1.5' 'omegaconf>=2.4,<2.5'
	.venv-hydra-next/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(dir $(PLUGINS))
	.venv-hydra-next/bin/python -m pytest -n 2 tests/config tests/test_cli.py $(ARGS)

test-torch:
	test -x .venv-torch/bin/python || $(PYTHON) -m venv .venv-torch
	.venv-torch/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]' torch
	.venv-torch/bin/python -m pytest tests/test_torch.py $(ARGS)

# Spark needs Java, which pip does not bring.
test-spark:
	test -x .venv-spark/bin/python || $(PYTHON) -m venv .venv-spark
	.venv-spark/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,spark]'
	PYSPARK_PYTHON=$(CURDIR)/.venv-spark/bin/python .venv-spark/bin/python -m pytest tests/test_spark.py $(ARGS)

# Exact versions of everything the development environment holds; no URLs, no hosts.
constraints:
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install --quiet --disable-pip-version-check -e '.[test,lint]' $(dir $(PLUGINS))
	.venv-constraints/bin/pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' > constraints.txt
	rm -rf .venv-constraints

clean:
	rm -rf .venv .venv-hydra-next .venv-torch .venv-spark .venv-constraints dist .pytest_cache .mypy_cache .ruff_cache
