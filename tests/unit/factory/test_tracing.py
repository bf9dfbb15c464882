"""What sends traces is built where they are wanted, and what stands against it is a mistake of the configuration."""

from __future__ import annotations

import pytest

from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.factory import tracing


def test_nothing_is_built_where_no_traces_are_wanted() -> None:
    assert tracing.build_traces(Settings(), "web") is None


def test_packages_that_are_absent_are_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_NEEDED", ("opentelemetry.absent.really",))
    tracing.require(Settings())
    with pytest.raises(ConfigInvalid, match="pip install -r requirements-otel"):
        tracing.build_traces(Settings(traces=True), "web")


def test_variable_that_the_library_refuses_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    with pytest.raises(ConfigInvalid, match="queue_size"):
        tracing.build_traces(Settings(traces=True), "web")
