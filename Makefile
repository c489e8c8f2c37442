# Every target works in a fresh clone.

UV = sh tools/uv.sh
BIN = .venv/bin
PROJECT = {{cookiecutter.project_slug}}
DEMO = build/demo/temperature-anomalies
export UV_FIND_LINKS = $(CURDIR)/$(PROJECT)/wheels
# ARGS is split into words, and nothing in it is expanded.
export TYPED_ARGS := $(value ARGS)
override ARGS := $(value ARGS)

.PHONY: help setup demo test check fix wheel docs pictures lock relock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/.synced .venv-serve/.synced .venv-spark/.synced .venv-leave/.synced ## install the tools, the plugin and the environments that renders share; does nothing if they exist

.venv/.synced: requirements/dev.txt pyproject.toml tools/uv.sh
	test -x $(BIN)/python || $(UV) venv --quiet --clear --python '>=3.11' .venv
	VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes requirements/dev.txt
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --editable .
	@touch $@

# The inference server needs an older pydantic than Kedro, so it has its own environment.
.venv-serve/.synced: $(PROJECT)/requirements/serve.txt tools/uv.sh | .venv/.synced
	$(UV) venv --quiet --clear --python $(BIN)/python .venv-serve
	VIRTUAL_ENV=.venv-serve $(UV) pip sync --quiet --require-hashes '$(PROJECT)/requirements/serve.txt'
	@touch $@

# Spark takes 500 MB and changes how other packages behave, so it has its own environment, which also
# sees the packages of .venv. Without Java it stays empty, and the Spark tests are skipped.
.venv-spark/.synced: requirements/spark.txt tools/uv.sh | .venv/.synced
	$(UV) venv --quiet --clear --python $(BIN)/python .venv-spark
	! java -version 2>/dev/null || VIRTUAL_ENV=.venv-spark $(UV) pip sync --quiet --require-hashes requirements/spark.txt
	$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' >.venv-spark/tools.pth
	mv .venv-spark/tools.pth "$$(.venv-spark/bin/python -c 'import site; print(site.getsitepackages()[0])')"
	@touch $@

# The tools that run Kedro outside Azure; the environment also sees the packages of .venv.
.venv-leave/.synced: requirements/leave.txt tools/uv.sh | .venv/.synced
	$(UV) venv --quiet --clear --python $(BIN)/python .venv-leave
	VIRTUAL_ENV=.venv-leave $(UV) pip sync --quiet --require-hashes requirements/leave.txt
	$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' >.venv-leave/tools.pth
	mv .venv-leave/tools.pth "$$(.venv-leave/bin/python -c 'import site; print(site.getsitepackages()[0])')"
	@touch $@

demo: .venv/.synced ## render the template with its default answers into build/demo, install the project and run it
	rm -rf build/demo
	@# cookiecutter would also render the bytecode of files that were run in place
	@find '$(PROJECT)' -name __pycache__ -prune -exec rm -rf {} +
	$(BIN)/cookiecutter . --no-input --default-config --output-dir build/demo
	@test ! -d .uv || ln -s "$(CURDIR)/.uv" $(DEMO)/.uv
	$(MAKE) --no-print-directory -C $(DEMO) run
	@printf '%s\n' '' 'The demo is in $(DEMO). Next, look there at' \
		'  README.md          the guide to its files' \
		'  data/processed/    the report, the plots and the scores' \
		'  make mlflow        the tracked run, in the browser' \
		'  make viz           the pipeline, in the browser'

test: setup ## run all tests: make test ARGS="tests/plugin -k gate"; ARGS="-m 'not slow'" skips those that install a project
	@$(BIN)/python -m kedro_azure_mlops.arguments $(BIN)/pytest -n auto
	@test -n "$$TYPED_ARGS" || ! .venv-spark/bin/python -c 'import pyspark' 2>/dev/null || \
		.venv-spark/bin/python -m pytest -m spark tests/plugin/spark

check: setup ## report faults in the files and change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/shellcheck tools/uv.sh .ci/run src/kedro_azure_mlops/serve/device/install.sh
	$(BIN)/hadolint src/kedro_azure_mlops/azure/job.Dockerfile src/kedro_azure_mlops/serve/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --persona=auditor --quiet .github
	$(BIN)/python -B tools/hygiene.py
	$(BIN)/python tools/release.py
	$(BIN)/python tools/wheel.py --check

fix: setup ## fix the faults from `check` that can be fixed automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/hygiene.py --fix

wheel: .venv/.synced ## build the plugin's wheel into the template and name it in the template's locks
	$(BIN)/python tools/wheel.py

docs: .venv/.synced ## build the site into build/docs; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs build/docs

pictures: .venv/.synced ## regenerate the pictures of the site, from a render of the template, in Chromium
	$(BIN)/python tools/pictures.py

# One environment for the tests: the requirements of the repository and of a rendered project, with
# the pins of the project's locks.
lock: ## regenerate requirements/*.txt, keeping pins that still fit: make lock ARGS=--upgrade
	@mkdir -p build
	cat $(foreach set,run dev azure notebook,'$(PROJECT)/requirements/$(set).txt') >build/project.txt
	set -f; $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-emit-package kedro-azure-mlops --custom-compile-command "make lock" \
		--constraint build/project.txt $$TYPED_ARGS requirements/dev.in '$(PROJECT)/requirements/run.in' \
		'$(PROJECT)/requirements/dev.in' '$(PROJECT)/requirements/azure.in' --output-file requirements/dev.txt
	set -f; $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" --constraint requirements/dev.txt $$TYPED_ARGS \
		requirements/spark.in --output-file requirements/spark.txt
	set -f; $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" $$TYPED_ARGS requirements/leave.in --output-file requirements/leave.txt

relock: .venv/.synced ## regenerate and upgrade the locks of this repository and of the template
	rm -rf build/relock
	$(BIN)/cookiecutter . --no-input --default-config --output-dir build/relock
	@test ! -d .uv || ln -s "$(CURDIR)/.uv" build/relock/temperature-anomalies/.uv
	$(MAKE) --no-print-directory -C build/relock/temperature-anomalies lock ARGS=--upgrade
	cp build/relock/temperature-anomalies/requirements/*.txt '$(PROJECT)/requirements/'
	$(MAKE) --no-print-directory lock ARGS=--upgrade
	echo 'cookiecutter>=2.7.1,<3' | $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --upgrade - --no-header --output-file build/update.txt
	(head -2 src/kedro_azure_mlops/update/requirements.txt && cat build/update.txt) >build/renewed.txt
	mv build/renewed.txt src/kedro_azure_mlops/update/requirements.txt

clean: ## remove the outputs of the other targets, except the environments
	rm -rf build .pytest_cache .ruff_cache .mypy_cache
	find hooks src tests tools -name __pycache__ -prune -exec rm -rf {} +
