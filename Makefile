# Two commands do everything on a fresh machine: make demo, make test.
.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-slow lint bench docs models clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
READY := mnist-fast blur-fast pixelate-fast
# make models RUNS="FOLDER FOLDER" makes the ready models of runs at hand.
RUNS ?=

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make a virtual environment in .venv and install diffcli into it

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: setup ## Sample the ready models, then train and sample a hot and a cold one (1 to 5 minutes after the install)
	@mkdir -p demo
	$(BIN)/diffcli sample --model mnist-fast --label 0-9 --out demo/mnist.png
	$(BIN)/diffcli sample --model blur-fast --label 0-9 --out demo/mnist-cold.png
	$(BIN)/diffcli sample --model emoji --label 0-7 --row-labels --out demo/emoji.png
	@echo "Ready models, hot, cold and in colour: $(CURDIR)/demo/mnist.png, $(CURDIR)/demo/mnist-cold.png and $(CURDIR)/demo/emoji.png"
	$(BIN)/diffcli train --preset quickstart
	$(BIN)/diffcli sample --run quickstart --label 0-9 --out demo/digits.png
	$(BIN)/diffcli eval --run quickstart --extractor classifier --n-fid 359
	$(BIN)/diffcli train --preset quickstart-blur
	$(BIN)/diffcli sample --run quickstart-blur --label 0-9 --out demo/digits-cold.png --trajectory demo/digits-cold.gif
	@echo "Done. The pictures: $(CURDIR)/demo/digits.png (hot) and $(CURDIR)/demo/digits-cold.png (cold)"

check: lint ## Lint, check types, run the unit tests (a minute)
	$(BIN)/python -m pytest -n 2 tests/unit

test: lint ## Lint, check types, run all tests but the long forms
	$(BIN)/python -m pytest -n 2 --dist loadfile -rs --durations=25

SLOW := system/test_safety system/test_same_bytes system/test_memory system/test_processes system/test_resume system/test_precision system/test_disk \
  system/test_failures system/test_play_page commands/test_fuzz commands/test_fuzz_files commands/test_model_files \
  commands/test_resume_changes commands/test_study commands/test_shipped_studies commands/test_eval_inception \
  commands/test_diffusers commands/test_diffusers_export

test-slow: setup ## Run the long forms of the safety, resume, precision, fuzz, memory and browser tests (20 minutes)
	DIFFCLI_SLOW=1 $(BIN)/python -m pytest -m 'slow or not slow' -s $(SLOW:%=tests/%.py)

lint: setup ## Lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## Measure speed against two other tools; the tables go into docs/benchmarks.md (half an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks

docs: setup ## Build the book into site/, strictly; every link and formula, nothing from other servers
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "The book: $(CURDIR)/site/index.html"

models: setup ## Train the ready models again and write them into diffcli/inference/weights (ten minutes each, and as long to measure)
	$(if $(RUNS),,set -e; for preset in $(READY); do $(BIN)/diffcli train --preset $$preset; done)
	$(BIN)/python -m benchmarks.models $(or $(RUNS),$(READY))

clean: ## Remove the environment and all caches; runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache demo site
