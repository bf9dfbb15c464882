"""Who hears what of the engine's events."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock, call

from metamcp.factory.engine_watch import Audience
from metamcp.runtime.facts import EngineEvent

EVENT = EngineEvent("container", "f00d", "metamcp-git-1", "die", 0, None, {}, 1.0)


def audience() -> tuple[Audience, Any]:
    """And everybody that it calls, in one record of the calls."""
    heard = Mock()
    built = Audience(
        heard.supervisor, heard.inquest, heard.teardown, heard.reaper, heard.engine_back, heard.images_changed
    )
    return built, heard


def test_at_each_connection_what_was_missed_is_caught_up_with() -> None:
    built, heard = audience()
    built.engine_connected()
    assert heard.inquest.watching is True
    assert heard.mock_calls == [call.teardown.retry(), call.reaper.reap(), call.engine_back(), call.images_changed()]


def test_while_no_events_come_nobody_waits_for_one() -> None:
    built, heard = audience()
    built.engine_lost()
    assert heard.inquest.watching is False and not heard.mock_calls


def test_events_go_where_they_belong() -> None:
    built, heard = audience()
    built.container_event(EVENT)
    built.image_event(EVENT)
    assert heard.mock_calls == [call.supervisor.hear(EVENT), call.images_changed()]
