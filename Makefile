# Every command that people use; each is a thin call of a tested program.
# PYTHON=/path/to/python3.12 chooses the interpreter that .venv is made with.
.DEFAULT_GOAL := help
.PHONY: help demo up down trigger psql r-services images k8s-up k8s-demo k8s-down test lint bench prove lock
.SUFFIXES:
MAKEFLAGS += --no-print-directory

# Settings of the demo, from make's command line only: shells have a COLUMNS of their own.
said = $(if $(filter command line,$(origin $(1))),$($(1)))
demo up trigger k8s-demo: export IRT_DEMO_DATA = $(call said,DATA)
demo up trigger k8s-demo: export IRT_DEMO_AS_OF = $(call said,AS_OF)
demo up trigger k8s-demo: export IRT_DEMO_COLUMNS = $(call said,COLUMNS)
demo up trigger: export IRT_DEMO_PORT = $(call said,PORT)
images: export IRT_REGISTRY = $(call said,REGISTRY)
images: export IRT_TAG = $(call said,TAG)
images: export IRT_PUSH = $(call said,PUSH)
images: export IRT_ONLY = $(call said,ONLY)
images: export IRT_BUILD_OPTIONS = $(call said,BUILD_OPTIONS)
k8s-up: export IRT_SERVICES = $(call said,SERVICES)
k8s-up: export IRT_EXECUTOR = $(call said,EXECUTOR)
k8s-up: export IRT_CHARTS = $(call said,CHARTS)
k8s-demo: export IRT_LEARNERS = $(call said,LEARNERS)

bin := .venv/bin
analytics := $(bin)/python -m irt_analytics

help: ## this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

demo: ## run the whole daily Dag on a simulated cohort, or on a log: DATA=log.csv [AS_OF=YYYY-MM-DD] [COLUMNS="correct=is_right,..."]
	@tools/setup
	@$(analytics) demo run

up: ## serve Airflow's web UI over the last demo's data: [PORT=8080]
	@tools/setup
	@$(analytics) demo up

down: ## stop all that `make up` and `make demo` started
	@test ! -x $(bin)/python || $(analytics) demo down

trigger: ## run another day of the last demo's data: AS_OF=YYYY-MM-DD
	@tools/setup
	@$(analytics) demo trigger

psql: ## open the last demo's database
	@tools/setup
	@$(analytics) demo psql

r-services: ## start the four R services on free loopback ports; says where their tokens are
	@tools/setup
	@$(analytics) demo services

images: ## build the images: [REGISTRY=host/folder PUSH=1] [TAG=...] [ONLY="irt-jobs irt-airflow"] [BUILD_OPTIONS=...]
	@tools/setup
	@$(analytics) deploy images

k8s-up: ## install a trial on the cluster that KUBECONFIG names: [SERVICES="irt glmm"|none] [EXECUTOR=...] [CHARTS=folder]
	@tools/setup dev
	@$(analytics) deploy up

k8s-demo: ## run the whole Dag there on a simulated cohort, or on a log: DATA=log.csv [AS_OF=YYYY-MM-DD] [LEARNERS=1000]
	@tools/setup dev
	@$(analytics) deploy demo

k8s-down: ## remove the trial with all its data
	@tools/setup dev
	@$(analytics) deploy down

test: ## linters, types and every lane of tests, each with its time
	@tools/setup dev
	@tools/test

lint: ## format and fix what can be fixed, then check style and types
	@tools/setup dev
	@$(bin)/ruff format
	@$(bin)/ruff check --fix
	@$(bin)/mypy dags plugins include tests

bench: ## measure the engine against its peers; writes .bench/results.json
	@tools/setup dev
	@$(bin)/python -m tests.bench

prove: ## the statistical proofs at full size
	@tools/setup dev
	@$(bin)/pytest -m prove

lock: ## compile the requirements files from pyproject.toml and plugins/requirements.in
	@tools/setup
	.demo/uv/bin/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links --extra airflow --extra demo pyproject.toml -o requirements.txt
	.demo/uv/bin/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	grep '^apache-airflow' requirements.txt >.demo/airflow-versions
	.demo/uv/bin/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links --override plugins/overrides.txt -c .demo/airflow-versions plugins/requirements.in -o plugins/requirements.txt
