"""Which log messages reach a client that asked for a level."""

from __future__ import annotations

import pytest

from metamcp.gateway.logging_levels import reaches
from metamcp.protocol.envelope import LOG_LEVELS as LEVELS


def test_a_message_reaches_who_asked_for_its_level_or_a_lower_one() -> None:
    for asked, level in enumerate(LEVELS):
        reached = [said for said in LEVELS if reaches(b'{"level":"%s","data":1}' % said.encode(), level)]
        assert reached == list(LEVELS[asked:])


@pytest.mark.parametrize("params", [b"", b"{}", b'{"level":3}', b'{"level":"loud"}'])
def test_a_message_without_a_level_reaches_nobody(params: bytes) -> None:
    assert not reaches(params, "debug")


def test_nobody_asked_for_means_nothing_comes() -> None:
    assert not reaches(b'{"level":"emergency"}', "")
