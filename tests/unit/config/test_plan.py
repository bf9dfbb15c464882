"""What a reload changes, told from two configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamcp.config.loader import Loaded
from metamcp.config.model import Allowlist, EndpointSpec, GatewayConfig, ImageRule, NamespaceSpec, ServerSpec
from metamcp.config.plan import Changes, Plan, plan

NAMES = st.sampled_from(["git", "time", "web", "notes"])
SPECS = st.builds(
    ServerSpec, NAMES, command=st.sampled_from(["x", "y"]), enabled=st.booleans(), warm=st.integers(0, 1),
    env=st.dictionaries(st.sampled_from("AB"), st.sampled_from("12")),
)  # fmt: skip
SPACES = st.builds(NamespaceSpec, NAMES, st.lists(NAMES, unique=True).map(tuple), st.booleans())
ENDS = st.builds(EndpointSpec, NAMES, NAMES, st.sampled_from(["none", "api-key"]))
RULES = st.lists(st.builds(ImageRule, NAMES), max_size=3).map(tuple)


def loaded(
    servers: list[ServerSpec],
    namespaces: list[NamespaceSpec] | None = None,
    endpoints: list[EndpointSpec] | None = None,
    rules: tuple[ImageRule, ...] = (),
) -> Loaded:
    config = GatewayConfig(
        {spec.name: spec for spec in servers},
        {space.name: space for space in namespaces or []},
        {end.name: end for end in endpoints or []},
    )
    return Loaded(config, Allowlist(rules))


LOADED = st.builds(loaded, st.lists(SPECS), st.lists(SPACES), st.lists(ENDS), RULES)


def licence(spec: ServerSpec, allowlist: Allowlist) -> object:
    """As if the server were named like its image."""
    return next((rule for rule in allowlist.rules if rule.pattern == spec.name), None)


def applied(old: Mapping[str, object], new: Mapping[str, object], changes: Changes) -> dict[str, object]:
    """What follows when ``changes`` alone are carried out."""
    kept = {name: value for name, value in old.items() if name not in changes.retired}
    return kept | {name: new[name] for name in (*changes.added, *changes.changed)}


@settings(deadline=None)  # of one example; a machine may be busy
@given(LOADED)
def test_plan_of_a_configuration_for_itself_is_empty(same: Loaded) -> None:
    found = plan(same, same, licence)
    assert found.empty
    assert set(found.servers.unchanged) == set(same.config.servers)


@settings(deadline=None)  # of one example; a machine may be busy
@given(LOADED, LOADED)
def test_old_configuration_with_the_plan_carried_out_is_the_new_one(old: Loaded, new: Loaded) -> None:
    found = plan(old, new, licence)
    assert applied(old.config.servers, new.config.servers, found.servers) == new.config.servers
    assert applied(old.config.namespaces, new.config.namespaces, found.namespaces) == new.config.namespaces
    assert applied(old.config.endpoints, new.config.endpoints, found.endpoints) == new.config.endpoints


@settings(deadline=None)  # of one example; a machine may be busy
@given(LOADED, LOADED)
def test_every_name_is_in_one_list_alone_and_the_way_back_is_the_opposite(old: Loaded, new: Loaded) -> None:
    there, back = plan(old, new, licence).servers, plan(new, old, licence).servers
    names = [*there.added, *there.removed, *there.changed, *there.unchanged]
    assert sorted(names) == sorted({*old.config.servers, *new.config.servers})
    assert (back.added, back.removed, back.changed) == (there.removed, there.added, there.changed)


def test_only_servers_that_differ_are_touched() -> None:
    names = ("same", "edited", "gone")
    same, edited, gone = (ServerSpec(name, command="x", env={"A": "1", "B": "2"}) for name in names)
    reordered = replace(same, env={"B": "2", "A": "1"})
    after = loaded([ServerSpec("new", command="x"), replace(edited, warm=1), reordered])
    found = plan(loaded([same, edited, gone]), after, licence).servers
    assert found == Changes(("new",), ("gone",), ("edited",), ("same",))
    assert found.retired == ("edited", "gone")


@pytest.mark.parametrize("enabled", [True, False])
def test_server_that_is_switched_on_or_off_counts_as_changed(enabled: bool) -> None:
    before, after = ServerSpec("git", enabled=enabled), ServerSpec("git", enabled=not enabled)
    assert plan(loaded([before]), loaded([after]), licence).servers.changed == ("git",)


def test_server_of_which_the_allowlist_says_something_else_counts_as_changed() -> None:
    specs = [ServerSpec("git"), ServerSpec("time")]
    rules = (ImageRule("git"), ImageRule("time"))
    found = plan(loaded(specs, rules=rules), loaded(specs, rules=rules[1:]), licence)
    assert (found.servers.changed, found.servers.unchanged) == (("git",), ("time",))


def test_namespaces_and_endpoints_are_told_apart_from_servers() -> None:
    specs = [ServerSpec("git")]
    before = loaded(specs, [NamespaceSpec("dev", ("git",))], [EndpointSpec("a", "dev"), EndpointSpec("b", "dev")])
    after = loaded(specs, [NamespaceSpec("dev", ())], [EndpointSpec("b", "dev", "api-key"), EndpointSpec("c", "dev")])
    assert plan(before, after, licence) == Plan(
        Changes(unchanged=("git",)), Changes(changed=("dev",)), Changes(("c",), ("a",), ("b",))
    )
