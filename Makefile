# Two commands do everything: `make run` and `make test`. All but lock and clean first bring .venv to what
# requirements.lock says, from any Python >= 3.11 (PYTHON=... names one), with nothing else
# installed; when it is there already, that takes no time.

.DEFAULT_GOAL := help
.PHONY: help run regenerate test board lab site lock clean setup

BIN := .venv/bin

help:
	@echo "make run         run every chapter (quick profile), print the verdicts"
	@echo "make test        pass all tests: unit, golden, notebooks, end to end"
	@echo "make lab         open the notebooks in JupyterLab"
	@echo "make board       watch the runs in TensorBoard"
	@echo "make site        build the site into docs/_build/html"
	@echo "make regenerate  run every chapter in place: writes notebooks/ and figures/"
	@echo "make lock        bring requirements.lock up to pyproject.toml (needs uv)"
	@echo "make clean       remove .venv and caches; runs/ and data/cache/ stay"

setup:
	@python="$$(sh tools/find_python.sh)" && "$$python" -I tools/make_venv.py

# What it makes lies in runs/: the checkout stays as it is.
run: setup
	@$(BIN)/kdnb run

# The committed notebooks and figures, made again.
regenerate: setup
	@$(BIN)/kdnb run --in-place

board: setup
	@mkdir -p "$${KDNB_RUNS:-runs}"
	@$(BIN)/tensorboard --logdir "$${KDNB_RUNS:-runs}"

# The kernel is pinned to this environment: a python3 kernel of the user's would win otherwise.
test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile --durations=40 --durations-min=10 \
		--nbval --nbval-current-env --nbval-cell-timeout=900 tests $(wildcard notebooks)

lab: setup
	@$(BIN)/jupyter-lab notebooks

# From the notebooks as they were executed; no connection is needed. Nothing runs but Sphinx.
site: setup
	@mkdir -p docs/_build/source
	@echo "Building the site: first the verdicts of the papers, then the pages; two to four minutes in all."
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going -c docs docs/_build/source docs/_build/html
	@echo "The site is in docs/_build/html: open index.html, or $(BIN)/python -m http.server -d docs/_build/html"

# Pins that still fit are kept; remove requirements.lock first to take the newest of everything.
lock:
	@PATH="$(CURDIR)/$(BIN):$$PATH"; \
	command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }; \
	uv pip compile pyproject.toml --extra test --extra docs --generate-hashes --universal \
		--python-version 3.11 --no-emit-index-url -o requirements.lock --quiet

clean:
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path "./runs/*" -prune -exec rm -rf {} +
