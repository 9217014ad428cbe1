# The commands of this project. The first call of one that needs it makes .venv (see INSTALL.md).
#
#   make quickstart   a small training, its evaluation, and pictures, end to end
#   make demo         segments a few pictures at once with the shipped weights; ARGS="--input a.jpg"
#   make app          a web page for your images and words; ARGS="--port 8000 --host 0.0.0.0"
#   make test         all tests; ARGS="-m 'not slow'" for an answer in a minute or two,
#                     ARGS="tests/vocab -k parse" for a part of them
#   make lint         ruff, its format check, mypy
#   make docs         the documentation site, in site/ (needs no network)
#   make format       applies the format and the safe fixes
#   make setup        only makes .venv; PYTHON=/path/to/python3.11 chooses the interpreter
#   make clean        removes .venv, output/, site/ and caches; not datasets

PY := .venv/bin/python
ARGS ?=
DEMO_DATA := output/demo/datasets
export PYTHON MIN_DISK_GB

.PHONY: help setup quickstart demo app test lint docs format clean

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

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: setup
	$(PY) -m mkdocs build

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf .venv output site build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
