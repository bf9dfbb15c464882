"""Which era a server speaks: asked on an instance that is used for nothing else, and remembered when it is sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fake_upstream import FakeChild, Json
from wiring import NOW, Upstream

from metamcp.config.model import ServerSpec
from metamcp.errors import MetaMCPError, RefusedByPolicy
from metamcp.upstream.era import PROBE_SECONDS, REMEMBERED_DAYS, Verdict

SPEC = ServerSpec("git", max_instances=1)
IDENTITY = SPEC.fingerprint()
MODERN = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
DAY = 86400


class House(Upstream):
    """``discover`` and ``initialize``: how the server answers each: a result, an error code, "exit" or silence."""

    def __init__(
        self, discover: Any = None, initialize: Any = None, remembered: Mapping[str, Verdict] | None = None,
        spec: ServerSpec = SPEC,
    ) -> None:  # fmt: skip
        super().__init__({"git": spec}, self.script, remembered)
        self.answers = {"server/discover": discover, "initialize": initialize}
        self.found: list[MetaMCPError | None] = []

    def script(self, child: FakeChild, message: Json) -> None:
        answer = self.answers.get(message["method"])
        if answer == "exit":
            child.die(1)
        elif isinstance(answer, int):
            error = {"code": answer, "message": "no"}
            child.say({"jsonrpc": "2.0", "id": message["id"], "error": error})
        elif answer is not None:
            child.result(message["id"], answer)

    def find(self, spec: ServerSpec = SPEC) -> None:
        self.eras.find(spec, self.found.append)
        self.reactor.turn()

    @property
    def spoken(self) -> tuple[bool, bool]:
        return (self.eras.speaks(SPEC, "legacy"), self.eras.speaks(SPEC, "modern"))

    def asked(self) -> list[str]:
        return [child.messages[0]["method"] for child in self.supervisor.started]


HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}


@pytest.mark.parametrize(
    ("discover", "initialize", "legacy", "modern"),
    [
        (-32601, HELLO, True, False),
        (-32602, HELLO, True, False),
        ("exit", HELLO, True, False),
        ({"supportedVersions": ["2025-11-25"]}, HELLO, True, False),
        (MODERN, HELLO, True, True),
        (MODERN, -32022, False, True),
        (MODERN, "exit", False, True),
        ({"supportedVersions": ["2026-07-28", "2025-11-25"]}, None, True, True),
    ],
)
def test_answers_show_the_eras(discover: Any, initialize: Any, legacy: bool, modern: bool) -> None:
    house = House(discover, initialize)
    house.find()
    assert house.found == [None]
    assert house.spoken == (legacy, modern)


def test_every_question_goes_to_an_instance_of_its_own_that_is_ended() -> None:
    house = House(MODERN, HELLO)
    house.find()
    assert house.asked() == ["server/discover", "initialize"]
    assert all(child.reason for child in house.supervisor.started)


def test_silence_is_taken_for_a_handshake_and_not_remembered() -> None:
    house = House()
    house.find()
    assert house.found == []
    house.reactor.advance(PROBE_SECONDS)
    house.supervisor.started[0].die(0)
    assert house.found == [None] and house.spoken == (True, False)
    assert house.kept == {}


def test_a_guess_that_was_confirmed_is_remembered() -> None:
    house = House("exit")
    house.find()
    assert house.kept == {}
    house.eras.confirm(SPEC, "legacy")
    assert house.kept[IDENTITY].eras == ("legacy",)


def test_a_server_without_identity_is_never_remembered() -> None:
    unknown = replace(SPEC, command="docker", args=("run", "-i", "git:1"))
    house = House(-32601, spec=unknown)
    house.find(unknown)
    house.eras.confirm(unknown, "legacy")
    assert house.spoken == (True, False) and house.kept == {}


def test_what_is_remembered_is_not_asked_again_until_it_is_old() -> None:
    kept = {IDENTITY: Verdict(("modern",), NOW + 1000)}
    house = House(-32601, remembered=kept)
    house.find()
    assert house.asked() == [] and house.spoken == (False, True)
    later = House(-32601, remembered={IDENTITY: Verdict(("modern",), NOW - REMEMBERED_DAYS * DAY)})
    later.find()
    assert later.asked() == ["server/discover"] and later.spoken == (True, False)


def test_another_image_is_asked_anew() -> None:
    house = House(-32601, remembered={f"sha256:0 {IDENTITY}": Verdict(("modern",), NOW)})
    house.find()
    assert house.asked() == ["server/discover"]


def test_the_configuration_overrides_without_asking() -> None:
    house = House(-32601)
    for era in ("legacy", "modern"):
        spec = replace(SPEC, era=era)
        house.find(spec)
        assert house.eras.preferred(spec) == era
    assert house.asked() == [] and house.found == [None, None]


def test_a_server_that_cannot_be_started_has_no_verdict() -> None:
    house = House()
    house.find()
    house.supervisor.started[0].fail(RefusedByPolicy("not allowed", rule="image-allowlist"))
    (error,) = house.found
    assert error is not None and house.eras.verdict("git") is None
    house.find()
    assert len(house.supervisor.started) == 2


def test_what_the_engine_refused_to_run_has_no_verdict() -> None:
    house = House()
    house.find()
    child = house.supervisor.started[0]
    child.is_container = True
    child.die(125, stderr=("docker: no such image",))
    assert house.found != [None] and house.eras.verdict("git") is None


def test_an_objection_to_the_handshake_corrects_the_verdict() -> None:
    house = House("exit")
    house.find()
    assert not house.eras.objected(SPEC, b'{"code":-32600,"message":"?"}')
    assert house.eras.objected(SPEC, b'{"code":-32022,"message":"only 2026-07-28"}')
    assert house.spoken == (False, True)
    assert not house.eras.objected(SPEC, b'{"code":-32022,"message":"only 2026-07-28"}')


def test_the_nearest_era_is_the_clients_own_where_the_server_speaks_it() -> None:
    house = House(MODERN, HELLO)
    house.find()
    assert (house.eras.nearest(SPEC, "legacy"), house.eras.nearest(SPEC, "modern")) == ("legacy", "modern")
    assert house.eras.preferred(SPEC) == "modern"


def test_probing_needs_no_second_place_beside_the_one_instance_that_is_allowed() -> None:
    house = House(MODERN, HELLO)
    house.find()
    assert house.found == [None]
    assert len(house.supervisor.started) == 2


# --- what is presumed --------------------------------------------------------------------------------------


def test_what_is_presumed_holds_until_it_has_been_asked_anew() -> None:
    house = House(-32601, remembered={IDENTITY: Verdict(("modern",), NOW - 2 * REMEMBERED_DAYS * DAY)})
    house.eras.presume(SPEC)
    assert house.spoken == (False, True) and house.asked() == []
    house.supervisor.script = None
    house.eras.find(SPEC, house.found.append, anew=True)
    assert house.spoken == (False, True)
    house.script(house.supervisor.started[0], house.supervisor.started[0].messages[0])
    assert house.found == [None] and house.spoken == (True, False)
    assert house.kept[IDENTITY].eras == ("legacy",)


def test_anew_asks_although_it_is_remembered() -> None:
    house = House(-32601, remembered={IDENTITY: Verdict(("modern",), NOW)})
    house.eras.find(SPEC, house.found.append, anew=True)
    house.reactor.turn()
    assert house.asked() == ["server/discover"] and house.spoken == (True, False)


def test_nothing_is_presumed_of_a_server_that_is_not_remembered() -> None:
    house = House(-32601)
    house.eras.presume(SPEC)
    assert house.eras.verdict("git") is None
    house.find()
    assert house.asked() == ["server/discover"]


def test_a_server_that_became_another_one_is_asked_again() -> None:
    house = House(-32601)
    house.find()
    house.answers["server/discover"], house.answers["initialize"] = MODERN, -32022
    house.find()
    assert house.spoken == (True, False)
    house.find(replace(SPEC, args=("--new",)))
    assert house.spoken == (False, True)


def test_what_was_forgotten_is_asked_anew_and_a_late_answer_of_the_former_server_is_not_taken() -> None:
    house = House(None, HELLO)
    house.find()
    (old,) = house.supervisor.started
    house.eras.forget("git")
    changed = replace(SPEC, args=("new",))
    house.pool.reconfigure({"git": changed}, ["git"])
    house.find(changed)
    house.answers["server/discover"] = MODERN
    house.script(old, old.messages[0])
    assert house.found == [] and house.eras.verdict("git") is None
    new = house.supervisor.started[1]
    house.script(new, new.messages[0])
    house.reactor.turn()
    verdict = house.eras.verdict("git")
    assert house.found == [None] and verdict is not None and "modern" in verdict.eras
