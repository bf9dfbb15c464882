"""Events as the engine writes them, whole and broken."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.facts import engine_event

DIE = {
    "status": "die", "id": "f00d", "from": "image", "Type": "container", "Action": "die",
    "Actor": {"ID": "f00d", "Attributes": {"exitCode": "137", "image": "image", "name": "metamcp-git-1", "x": "1"}},
    "scope": "local", "time": 1795628014, "timeNano": 1795628014261257200,
}  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


def test_the_death_of_a_container_is_read_whole() -> None:
    event = engine_event(DIE)
    assert (event.kind, event.id, event.name, event.action) == ("container", "f00d", "metamcp-git-1", "die")
    assert (event.exit_code, event.signal, dict(event.labels)) == (137, None, {"x": "1"})
    assert event.time == 1795628014.2612572


def test_a_kill_tells_its_signal() -> None:
    event = engine_event({"Type": "container", "Action": "kill", "Actor": {"Attributes": {"signal": "15"}}})
    assert (event.signal, event.exit_code) == (15, None)


def test_an_image_has_a_reference() -> None:
    actor = {"ID": "sha256:f00d", "Attributes": {"name": "app:1"}}
    event = engine_event({"Type": "image", "Action": "tag", "Actor": actor, "time": 7})
    assert (event.kind, event.id, event.name, event.action, event.time) == ("image", "sha256:f00d", "app:1", "tag", 7.0)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "Type": scalars,
            "Action": scalars,
            "time": st.none() | st.integers(),
            "timeNano": st.none() | st.integers(),
            "Actor": st.none()
            | st.fixed_dictionaries({}, optional={"ID": scalars, "Attributes": st.dictionaries(st.text(), scalars)}),
        },
    ),
    st.text(max_size=4),
)
def test_any_event_can_be_read_and_numbers_are_numbers_or_unknown(answer: dict[str, Any], code: str) -> None:
    assert engine_event(answer).kind == str(answer.get("Type") or "")
    event = engine_event({"Actor": {"Attributes": {"exitCode": code, "signal": code}}})
    assert event.exit_code == event.signal
    assert event.exit_code is None or event.exit_code >= 0
