"""What is declared follows Prometheus's own rules for names, and what is counted only uses declared labels."""

from __future__ import annotations

import re

import pytest

from metamcp.telemetry import metrics
from metamcp.telemetry.metrics import EXIT_REASONS, FAMILIES, KINDS, Family, kind_of, merged
from metamcp.telemetry.tally import Tally

UNITS = ("_seconds", "_bytes")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_have_the_prefix_the_base_unit_and_the_suffix_of_their_type(family: Family) -> None:
    assert re.fullmatch(r"metamcp(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.type == "counter")
    assert family.name.endswith("_info") == (family.type == "info")
    assert family.type != "histogram" or family.name.endswith(UNITS)
    assert not re.search(r"_(ms|millis\w*|kb|mb|count|bucket|sum)(_|$)", family.name)
    assert family.help.endswith(".") and len(set(family.labels)) == len(family.labels)
    assert all(re.fullmatch(r"[a-z]+", label) and label not in ("le", "instance", "job") for label in family.labels)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_histograms_have_rising_buckets_and_nothing_else_has_any(family: Family) -> None:
    assert bool(family.buckets) == (family.type == "histogram")
    assert list(family.buckets) == sorted(set(family.buckets)) and len(family.buckets) <= 20


def test_each_family_has_a_name_of_its_own() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names) > 30


def test_a_method_is_of_a_known_kind_whatever_it_is() -> None:
    assert {kind_of(method) for method in ("tools/call", "x" * 10_000, "", "initialize", "tools/call ")} == {
        "tool", metrics.OTHER, "opening",
    }  # fmt: skip
    assert kind_of("prompts/get") in KINDS


def test_samples_of_one_family_from_several_places_are_together() -> None:
    one, two = {"a": [(("x",), 1.0)], "b": metrics.lone(1.0)}, {"a": [(("y",), 2.0)]}
    assert merged(one, two) == {"a": [(("x",), 1.0), (("y",), 2.0)], "b": [((), 1.0)]}
    assert one["a"] == [(("x",), 1.0)]


# --- the supervisor's own counters -------------------------------------------------------------------------


def value(tally: Tally, family: Family, *labels: str) -> object:
    return dict(tally.samples(["git"])[family.name]).get(labels)


def test_each_server_shows_what_happens_seldom_from_the_start() -> None:
    tally = Tally()
    assert value(tally, metrics.RESTARTS, "git") == 0
    assert [value(tally, metrics.EXITS, "git", reason) for reason in EXIT_REASONS] == [0] * len(EXIT_REASONS)
    assert value(tally, metrics.ORPHANS) == 0


@pytest.mark.parametrize("reason", EXIT_REASONS)
def test_a_restart_is_the_first_start_after_an_end_that_nobody_wanted(reason: str) -> None:
    tally = Tally()
    tally.started("git")
    tally.ended("git", reason)
    tally.started("other")
    tally.started("git")
    tally.started("git")
    assert value(tally, metrics.STARTS, "git") == 3
    assert value(tally, metrics.EXITS, "git", reason) == 1
    assert value(tally, metrics.RESTARTS, "git") == (reason not in ("stopped", "no-place"))


def test_refused_calls_and_those_that_listen_have_no_duration() -> None:
    tally = Tally()
    tally.called("dev", "git", "tool", "result", "", 0.3)
    tally.called("dev", "git", "tool", "refused", "rate", 0.0)
    tally.called("dev", "git", "listen", "cancelled", "", 3600.0)
    (duration,) = tally.samples([])[metrics.CALL_SECONDS.name]
    assert duration[0] == ("dev", "git", "tool")
    assert sum(duration[1][:-1]) == 1 and duration[1][-1] == 0.3  # type: ignore[index]
    assert len(tally.samples([])[metrics.CALLS.name]) == 3
