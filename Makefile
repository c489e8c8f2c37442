# The template's verbs. Each works straight after a clone and prints the commands it runs.

UV = sh tools/uv.sh
BIN = .venv/bin
DEMO = build/demo/temperature-anomalies

.PHONY: help setup demo test check fix lock relock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

setup: .venv/.synced ## install the template's own tools into .venv; does nothing when they are there

.venv/.synced: requirements/dev.txt tools/uv.sh
	test -x $(BIN)/python || $(UV) venv --quiet --clear --python '>=3.11' .venv
	VIRTUAL_ENV=.venv $(UV) pip sync --require-hashes requirements/dev.txt
	@touch $@

demo: setup ## render the default answers into build/demo, install the project and run it
	rm -rf build/demo
	@# cookiecutter would render what Python leaves beside tools that were tried in place
	@find '{{cookiecutter.project_slug}}' -name __pycache__ -prune -exec rm -rf {} +
	$(BIN)/cookiecutter . --no-input --default-config --output-dir build/demo
	@test ! -d .uv || ln -s "$(CURDIR)/.uv" $(DEMO)/.uv
	$(MAKE) --no-print-directory -C $(DEMO) run
	@printf '%s\n' '' 'The demo is in $(DEMO). Look next, there, at' \
		'  README.md          what is where' \
		'  data/processed/    the report, the plots and the scores' \
		'  make mlflow        the tracked run, in the browser' \
		'  make viz           the pipeline, in the browser'

test: setup ## run all tests: make test ARGS="-m 'not slow'" leaves out those that install a project
	$(BIN)/pytest -n auto $(ARGS)

check: setup ## say what is wrong with the files and change none
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint --strict .
	$(BIN)/shellcheck tools/uv.sh .ci/run '{{cookiecutter.project_slug}}/operation/serving/device/install.sh'
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --persona=auditor --quiet .github
	PYTHONPATH='{{cookiecutter.project_slug}}' $(BIN)/python -B -m tools.checks.shell_in_yaml \
		.github/workflows/*.yml .github/actions/*/action.yml
	$(BIN)/python -B tools/hygiene.py
	$(BIN)/python tools/release.py

fix: setup ## mend what `check` finds and can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/hygiene.py --fix

lock: ## re-make requirements/dev.txt, keeping pins that still fit: make lock ARGS=--upgrade
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" $(ARGS) requirements/dev.in \
		--output-file requirements/dev.txt

relock: setup ## renew the locks of both layers
	$(MAKE) --no-print-directory lock ARGS=--upgrade
	rm -rf build/relock
	$(BIN)/cookiecutter . --no-input --default-config --output-dir build/relock
	@test ! -d .uv || ln -s "$(CURDIR)/.uv" build/relock/temperature-anomalies/.uv
	$(MAKE) --no-print-directory -C build/relock/temperature-anomalies lock ARGS=--upgrade
	cp build/relock/temperature-anomalies/requirements/*.txt '{{cookiecutter.project_slug}}/requirements/'

clean: ## remove what the other verbs made, but for .venv
	rm -rf build .pytest_cache .ruff_cache
	find hooks tests tools -name __pycache__ -prune -exec rm -rf {} +
