# The commands of this project. The first call of one that needs it makes .venv (see INSTALL.md).
#
#   make quickstart   a small training, its evaluation, and pictures, end to end
#   make demo         segments a few pictures at once with the shipped weights; ARGS="--input a.jpg"
#   make app          a web page for your images and words; ARGS="--port 8000 --host 0.0.0.0"
#   make test         all tests; ARGS="-m 'not slow'" for an answer in a minute or two,
#                     ARGS="tests/vocab -k parse" for a part of them
#   make test-lowest  a part of the tests on the lowest versions that are admitted, in .venv-lowest
#   make lint         ruff, its format check, mypy
#   make docs         the documentation site, in site/ (needs no network)
#   make format       applies the format and the safe fixes
#   make setup        only makes .venv; PYTHON=/path/to/python3.11 chooses the interpreter
#   make lock         writes the lock files (needs uv); ARGS=--upgrade for the newest versions
#   make clean        removes .venv, output/, site/ and caches; not datasets

PY := .venv/bin/python
ARGS ?=
# The parts that lean on the versions of libraries; of the slow tests, trainings.
LOWEST_TESTS := -m "not slow" tests/layers tests/encoders tests/mask_classification \
	tests/fusioner tests/inference tests/predict tests/checkpoints tests/evaluation tests/visualization \
	tests/data/mappers tests/data/proposals tests/data/miniature tests/data/test_*.py \
	tests/engine tests/web/test_app.py tests/cli/test_segment.py
LOWEST_SLOW := tests/engine/test_miniature_training.py \
	tests/cli/test_train.py::test_training_then_evaluation_gives_the_same_figures
LOWEST_PYTEST := .venv-lowest/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile
DEMO_DATA := output/demo/datasets
export PYTHON MIN_DISK_GB

.PHONY: help setup quickstart demo app test test-lowest lint docs format lock clean

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@bash tools/setup_env.sh

quickstart: setup
	$(PY) tools/quickstart.py $(ARGS)

demo: setup
	$(PY) -m frozenseg data prepare miniature --root $(DEMO_DATA) --train 0 --dev 0 --val 4
	$(PY) -m frozenseg segment --input $(DEMO_DATA)/miniature/val --output output/demo $(ARGS)

app: setup
	$(PY) -m frozenseg app $(ARGS)

test: setup
	$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

test-lowest:
	@VENV=.venv-lowest LOCK=requirements-lowest.lock PYTHON=$(or $(PYTHON),python3.11) \
		bash tools/setup_env.sh
	$(LOWEST_PYTEST) $(or $(ARGS),$(LOWEST_TESTS))
	$(if $(ARGS),,$(LOWEST_PYTEST) $(LOWEST_SLOW))

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: setup
	$(PY) -m mkdocs build

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lock: setup
	$(PY) tools/lock_requirements.py $(ARGS)

clean:
	rm -rf .venv .venv-lowest output site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
