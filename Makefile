# Each target does all of its own set-up. `make run` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := $(CURDIR)
# Where it is set, each run compiles everything anew, each server of a test, too.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test fetch lint check audit nightly bench clean

run: $(VENV)/run.stamp
	@$(BIN)/python demo/make_image.py || true
	@exec $(BIN)/gunicorn -c config/gunicorn.conf.py wsgi:app

# Tests run in parts side by side, which take about as long as each other; what no other part of the unit tests names is
# in the last. The other tests mostly wait, for starts and ends of gateways and containers. Where others use the machine,
# too, a test may come too late: it is run once more, and the summary names it.
PART_1 := runtime
PART_2 := web link concurrency
PART_3 := upstream protocol access
PART_4 := $(filter-out $(PART_1) $(PART_2) $(PART_3) __pycache__,$(notdir $(wildcard tests/unit/*)))
PARTS := unit-1 unit-2 unit-3 unit-4
LANE_containers := engine conformance
LANE_clients := $(filter-out unit servers __pycache__ $(LANE_containers),$(notdir $(patsubst %/,%,$(wildcard tests/*/))))
LANES := test-containers test-clients
.PHONY: $(PARTS) $(LANES)
ONCE_MORE := --reruns 1 -r fER
SIDE_BY_SIDE := $(MAKE) --no-print-directory --keep-going --jobs=5

test: $(VENV)/dev.stamp
	@$(SIDE_BY_SIDE) --output-sync=target fetch $(PARTS) UNIT_OPTIONS="$(ONCE_MORE)"
	@$(SIDE_BY_SIDE) $(LANES)

$(LANES): test-%: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -p no:cacheprovider $(ONCE_MORE) -m "not nightly" $(addprefix tests/,$(LANE_$*))

$(PARTS): unit-%: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -p no:cacheprovider $(UNIT_OPTIONS) $(addprefix tests/unit/,$(PART_$*))

# Real clients and the conformance suite, for the tests that follow.
fetch: $(VENV)/dev.stamp
	$(BIN)/python tests/fetched.py

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python checks/secret_scan.py

check: $(VENV)/dev.stamp
	@$(SIDE_BY_SIDE) --output-sync=target lint audit $(PARTS) UNIT_OPTIONS=--hypothesis-profile=quick

audit: $(VENV)/dev.stamp
	$(BIN)/python checks/audit.py

# What is too long for every change, and what is marked so; an engine is required.
nightly: $(VENV)/dev.stamp
	REQUIRE_ENGINE=1 SOAK_SECONDS=$${SOAK_SECONDS:-600} FUZZ_SECONDS=$${FUZZ_SECONDS:-120} $(BIN)/python -m pytest tests --hypothesis-profile=many

# Measures the gateway and, with RIVALS=1, others' (bench/README.md); an engine is required. BENCH="…" are options.
bench: $(VENV)/dev.stamp
	$(BIN)/python -m bench run $(if $(RIVALS),--rivals) $(BENCH)

clean:
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-otel.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp
