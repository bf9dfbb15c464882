"""For tests against a real Docker engine. REQUIRE_ENGINE=1 turns a missing engine from a skip into a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NoReturn

import pytest
from docker_engine import Engine, NoEngine, open_engine, report, wait_until

LABEL = "metamcp.instance"
GONE_SECONDS = 20
MISSING = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Iterator[Engine]:
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_engine())
        except NoEngine as reason:
            without_engine(pytestconfig, str(reason))
        yield opened


def without_engine(config: pytest.Config, reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_ENGINE") == "1":
        pytest.fail(f"REQUIRE_ENGINE=1, but {reason}", pytrace=False)
    config.stash[MISSING] = reason
    pytest.skip(f"needs a Docker engine: {reason}")


@pytest.fixture(autouse=True)
def no_container_is_left(engine: Engine) -> Iterator[None]:
    """Containers that were there before belong to somebody else, for example a gateway in use on this machine."""
    before = set(engine.containers(LABEL))
    yield

    def left() -> list[str]:
        return [container for container in engine.containers(LABEL) if container not in before]

    if not wait_until(lambda: not left(), GONE_SECONDS):
        pytest.fail(f"containers are left:\n{report(engine, left())}", pytrace=False)
