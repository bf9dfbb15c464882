from __future__ import annotations

import pytest
from conformance.suite import Suite, installed_suite
from engine_fixtures import no_container_is_left

__all__ = ["no_container_is_left"]


@pytest.fixture(scope="session")
def suite() -> Suite:
    return installed_suite()
