# Each target does all of its own set-up. `make run` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := $(CURDIR)
# Where it is set, each run compiles everything anew, each server of a test, too.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run lint test check audit nightly clean

run: $(VENV)/run.stamp
	@$(BIN)/python demo/make_image.py || true
	@exec $(BIN)/gunicorn -c config/gunicorn.conf.py wsgi:app

# Units side by side; the others measure time, and have the machine for themselves.
test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/unit -n 3
	$(BIN)/python -m pytest tests --ignore=tests/unit

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python checks/secret_scan.py

# The audit waits for others, so it runs beside the rest; its result counts all the same.
check: $(VENV)/dev.stamp
	@$(BIN)/python checks/audit.py & audit=$$!; \
	$(MAKE) --no-print-directory lint && $(BIN)/python -m pytest tests/unit -n 3 --hypothesis-profile=quick; \
	status=$$?; wait $$audit && exit $$status

audit: $(VENV)/dev.stamp
	$(BIN)/python checks/audit.py

# What is too long for every change; an engine is required.
nightly: $(VENV)/dev.stamp
	REQUIRE_ENGINE=1 SOAK_SECONDS=$${SOAK_SECONDS:-600} FUZZ_SECONDS=$${FUZZ_SECONDS:-120} $(BIN)/python -m pytest tests --hypothesis-profile=many

clean:
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp
