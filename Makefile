# Two commands do everything: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch is installed first, from whatever build pip is told to take: make TORCH="torch==2.13.0 --index-url …"
TORCH ?= torch==2.13.0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: setup dev clients assets doctor demo test check bench screenshots crash gpu-check gpu-wheels up down worker browser lock format

setup: $(VENV)/.locked $(VENV)/graders/.locked assets

$(VENV)/.locked: requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	touch $@

# What tests and checks need, apart from what runs in production.
dev: $(VENV)/.dev

$(VENV)/.dev: requirements-dev.lock | $(VENV)/.locked
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements-dev.lock
	touch $@

# What Python graders may import: an environment of their own, which holds nothing of Groove's.
$(VENV)/graders/.locked: requirements-graders.lock | $(VENV)/.locked
	rm -rf $(VENV)/graders
	$(BIN)/pip install --quiet --target $(VENV)/graders --require-hashes --no-deps \
	  --requirement requirements-graders.lock
	touch $@

# Clients of the API and servers of environments that the tests run unmodified. Each set is an environment of its own.
clients: $(VENV)/clients/.locked $(VENV)/openai1/.locked $(VENV)/environment-servers/.locked

$(VENV)/clients/.locked $(VENV)/openai1/.locked $(VENV)/environment-servers/.locked: $(VENV)/%/.locked: requirements-%.lock | $(VENV)/.locked
	rm -rf $(@D)
	$(BIN)/pip install --quiet --no-compile --target $(@D) --require-hashes --no-deps --requirement $<
	touch $@

assets: static/dist/.built

static/dist/.built: package-lock.json $(shell find static/css static/js templates -type f 2>/dev/null) | $(VENV)/.locked
	$(BIN)/python -m webapp.config.assets
	touch $@

demo: BEGAN := $(shell date +%s)
demo: setup
	$(BIN)/python manage.py demo --began $(BEGAN) $(if $(ONESHOT),--oneshot) $(if $(SAMPLE),--sample $(SAMPLE))

up: setup
	$(BIN)/python manage.py up

down: $(VENV)/.locked
	$(BIN)/python manage.py down

# On another machine: DATABASE_URL, BROKER_URL and STORAGE_URL say where the rest of Groove is.
worker: $(VENV)/.locked $(VENV)/graders/.locked
	$(BIN)/celery -A workers.celery worker --pool threads --concurrency 16 --loglevel info

doctor: $(VENV)/.locked
	$(BIN)/python manage.py doctor

browser: dev
	$(BIN)/python -m tests.e2e.browser

test: setup dev browser clients
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal --durations 40 $(TESTS)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint templates --check --lint --quiet
	$(BIN)/python -W ignore manage.py makemigrations --check --dry-run --skip-checks

bench: setup dev
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY))

# The README's pictures, of a job that runs for it.
screenshots: setup dev browser
	$(BIN)/python -m pytest -q tests/e2e/screenshots.py

# One job is killed and cut off at random, and must end as if nothing had happened.
crash: setup dev
	$(BIN)/python -m tests.crash

# On a machine with one GPU: under 8 minutes; docs/gpu.md says how to run it without this environment.
gpu-check: dev
	$(BIN)/python tests/gpu/check.py --out var/gpu-check $(if $(ONLY),--only $(ONLY))

# The packages that a machine with torch 2.11 and Python 3.12 still needs for it, as wheels in .whl/.
WHEELS := --quiet --no-deps --dest .whl --only-binary :all: --python-version 3.12 --implementation cp \
  --platform manylinux_2_34_x86_64 --platform manylinux_2_31_x86_64 --platform manylinux_2_28_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64
gpu-wheels: | $(VENV)/.locked
	rm -rf .whl
	grep -v 'without a wheel' tests/gpu/wheels.txt | $(BIN)/pip download $(WHEELS) --requirement /dev/stdin
	grep 'without a wheel' tests/gpu/wheels.txt | $(BIN)/pip wheel --quiet --no-deps --wheel-dir .whl --requirement /dev/stdin
	du -sh .whl

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/djlint templates --reformat --quiet

# torch brings these itself; which ones depends on its build.
OF_TORCH := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
  nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
  nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --universal --python-version 3.11 \
  $(foreach package,$(OF_TORCH),--no-emit-package $(package))
lock: dev
	$(BIN)/pip install --quiet uv
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --output-file requirements-graders.lock requirements-graders.in
	$(COMPILE) --output-file requirements-clients.lock requirements-clients.in
	$(COMPILE) --output-file requirements-openai1.lock requirements-openai1.in
	$(COMPILE) --output-file requirements-environment-servers.lock requirements-environment-servers.in
