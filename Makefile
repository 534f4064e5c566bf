# What a contributor calls; `pip install -e '.[test,dev,docs,demo]'` first.
.PHONY: lint types test test-fast docs demo

lint:
	ruff check .
	ruff format --check .
	lint-imports

types:
	mypy

test:
	pytest

test-fast:
	pytest -m "not slow"

docs:
	python scripts/write_tables.py
	mkdocs build --strict

demo:
	visionrnn demo
