# Set-up, the main job, tests and checks. Everything lives in .venv; nothing is downloaded at run time.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
AUDIT := .venv-audit
LMMS := .venv-lmms
# Two processes, in the order of the tests: the two groups that start Ray are the longest (tests/side_by_side.py).
PYTEST := $(BIN)/python -m pytest -n 2 --no-loadscope-reorder

.PHONY: sweep smoke control paper-quick paper test unit test-all faults check audit lmms-env setup clean

sweep: $(STAMP)  ## reproduce Table 4 on the embedded data
	$(BIN)/python experiments/sweep_fusion.py

smoke: $(STAMP)  ## the same path in about a minute: two arms, one seed, no base
	$(BIN)/python experiments/control.py smoke

control: $(STAMP)  ## the control the paper left out
	$(BIN)/python experiments/control.py

paper-quick: $(STAMP)  ## every table and figure at its first look, 4 seeds, then the joint search
	$(BIN)/python experiments/paper.py --looks 1
	$(BIN)/python experiments/search_joint.py

paper: $(STAMP)  ## the same, and to the second look, 8 seeds, where a claim is undecided at the first
	$(BIN)/python experiments/paper.py
	$(BIN)/python experiments/search_joint.py

test: check  ## checks, then the tests that need no Ray and those that do, less the slow ones
	$(PYTEST) -m "not slow" --durations=20

unit: $(STAMP)  ## the tests that start no Ray
	$(PYTEST) -m "not ray and not slow" --durations=20

test-all: check  ## checks, then every test
	$(PYTEST) --durations=40

FAULT_SEED ?= 0
FAULT_TABLE ?= tests/FAULTS.md

faults: $(STAMP)  ## every fault that is known, slow loops included; writes tests/FAULTS.md
	$(PYTEST) -m fault --fault-seed $(FAULT_SEED) --fault-table $(FAULT_TABLE)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=platform:. $(BIN)/lint-imports --no-cache

# --strict: a package whose advisories cannot be read is an error, where pip-audit would print that nothing is known.
audit: $(AUDIT)/bin/pip-audit  ## known advisories about the packages in constraints.txt, asked for over the network
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt \
		|| { echo "audit: not passed. An advisory is named above, or advisories cannot be read from here: then nothing is known"; exit 1; }

$(AUDIT)/bin/pip-audit:
	@$(PYTHON) -m venv $(AUDIT) || python3 -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet pip-audit==2.10.1

# Its packages exclude some of ours (infra/README.md). torch comes first and by its version: left to itself pip takes the
# newest, a CUDA build of gigabytes, also where there is no GPU.
lmms-env: $(LMMS)/.ready  ## lmms-eval in .venv-lmms, for experiments/benchmark_general.py: 2.5 GB, 3 to 6 min

$(LMMS)/.ready: infra/lmms/requirements.txt infra/lmms/torchvision_beside_cpu_torch.py
	@test -x $(LMMS)/bin/python || $(PYTHON) -m venv $(LMMS) || python3 -m venv $(LMMS)
	@$(LMMS)/bin/python -m pip install --quiet $$(grep '^torch==' infra/lmms/requirements.txt)
	@$(LMMS)/bin/python -m pip install --quiet --requirement infra/lmms/requirements.txt
	@$(LMMS)/bin/python -c 'import torchvision' 2>/dev/null || { \
		packages=$$($(LMMS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		cp infra/lmms/torchvision_beside_cpu_torch.py $$packages/; \
		echo 'import torchvision_beside_cpu_torch' > $$packages/torchvision_beside_cpu_torch.pth; }
	@$(LMMS)/bin/python -c 'import torchvision, decord, transformers'
	@touch $(LMMS)/.ready

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "set-up 1/3: a virtual environment in $(VENV), 5 s"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	@echo "set-up 2/3: torch, at the version in constraints.txt: 200 MB as a CPU build, several GB as a CUDA build, 1 to 10 min"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables torch
	@echo "set-up 3/3: ray, transformers and 120 more packages, 400 MB, about 2 min"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $(STAMP)
	@echo "set-up done"

clean:
	rm -rf $(VENV) $(AUDIT) $(LMMS) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist swimlab-store
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
