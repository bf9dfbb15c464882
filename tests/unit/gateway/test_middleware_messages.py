"""Middleware and what a server says or asks by itself, on each way that it can take: to clients with a session and
without one, from servers of both eras, on instances of their own and shared ones."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fake_upstream import HELLO, Json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from middleware_house import ELICIT, WAYS, House, built_in, texts
from stateless_client import StatelessClient, in_flight
from wiring import Got, stream_name

from metamcp.config.model import EndpointSpec, MiddlewareSpec, NamespaceSpec, ServerSpec
from metamcp.errors import ServerMisbehaved
from metamcp.gateway.bridged import GATHER_SECONDS
from metamcp.gateway.interface import Client, Listen, Post
from metamcp.gateway.middleware.interface import Answer, Call, Context, Message, Middleware, Refusal

UPDATED, PROGRESS, LOG = "notifications/resources/updated", "notifications/progress", "notifications/message"
ASKED = "elicitation/create"
SECRET = "sk-s3cret"
REDACT = built_in("redact", patterns=[SECRET], known=False)  # what other tests made known is not hidden here


class Hears(Middleware):
    """Writes down what it sees, and signs it. Refuses what has ``refuse`` in it, fails where it has ``fail``."""

    seen: list[tuple[Any, ...]]

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        type(self).seen = []

    def on_message(self, message: Message, context: Context) -> None:
        self.seen.append((message.method, message.server, message.asks, message.params, context))
        if b"refuse" in message.raw:
            raise Refusal("not this")
        if b"fail" in message.raw:
            raise KeyError("s3cret of the server")
        message.params = message.params | {"signed": self.options.get("name", "me")}


class Talk:
    """A call of ``house``, in which its server speaks."""

    def __init__(self, house: House, *middleware: Any) -> None:
        self.house = house
        if middleware:
            house.through(*middleware)
        params: Json = {"name": "git__status", "arguments": {}}
        if house.stateless is not None:
            self.got = house.ask("tools/call", params | {"log": "debug", "meta": {"progressToken": "mine"}}, b"7")
        else:
            house.ask("logging/setLevel", {"level": "debug"})
            self.got = house.ask("tools/call", params | {"_meta": {"progressToken": "mine"}}, b"7")
        self.child = house.child
        self.call = in_flight(self.child)

    def log(self, data: object) -> None:
        self.child.notify(LOG, level="error", data=data)

    def progress(self, **params: Any) -> None:
        token = self.call["params"]["_meta"]["progressToken"]
        self.child.notify(PROGRESS, progressToken=token, progress=1, **params)

    def asks(self, message: str, key: str = "q") -> None:
        """As a server of its era asks while it works on a call."""
        params = ELICIT | {"message": message}
        if self.modern:
            question = {"method": ASKED, "params": params}
            self.child.result(self.call["id"], {"resultType": "input_required", "inputRequests": {key: question}})
        else:
            self.child.say({"jsonrpc": "2.0", "id": key, "method": ASKED, "params": params})
        self.house.reactor.advance(GATHER_SECONDS)

    @property
    def modern(self) -> bool:
        return bool(self.child.sent("server/discover")) and not self.child.sent("notifications/initialized")

    @property
    def messages(self) -> list[bytes]:
        """Everything that the client got."""
        stream = self.house.stream.messages if self.house.stateless is None else []
        return [*self.got.messages, *stream]

    def heard(self, method: str) -> list[Json]:
        """The params of what the client was told or asked with ``method``."""
        found = [json.loads(message) for message in self.messages]
        params = [message["params"] for message in found if message.get("method") == method]
        for message in found:
            asked = message.get("result", {}).get("inputRequests", {})
            params += [each["params"] for each in asked.values() if each["method"] == method]
        return params

    def answered(self, key: str = "q") -> Json:
        """What a server of the handshake era got for its question."""
        return next(it for it in self.child.messages if it.get("id") == key and "method" not in it)


@pytest.fixture(params=WAYS, ids="-".join)
def house(request: pytest.FixtureRequest) -> House:
    return House(*request.param)


# --- the hook ----------------------------------------------------------------------------------------------


def test_progress_and_log_go_through_the_hook_and_keep_the_clients_token(house: House) -> None:
    talk = Talk(house, Hears)
    talk.progress(message="on the way")
    talk.log("said")
    (progress,), (log,) = talk.heard(PROGRESS), talk.heard(LOG)
    assert progress == {"progressToken": "mine", "progress": 1, "message": "on the way", "signed": "me"}
    assert log == {"level": "error", "data": "said", "signed": "me"}
    context = Context("all", "dev", "anonymous")
    assert [(*seen[:3], seen[4]) for seen in Hears.seen] == [
        (PROGRESS, "git", False, context), (LOG, "git", False, context),
    ]  # fmt: skip


def test_token_stays_whatever_becomes_of_the_message(house: House) -> None:
    class Empties(Middleware):
        def on_message(self, message: Message, context: Context) -> None:
            message.params = {"progress": 2}

    talk = Talk(house, Empties)
    talk.progress(message="on the way")
    assert talk.heard(PROGRESS) == [{"progress": 2, "progressToken": "mine"}]


def test_what_is_refused_or_fails_is_not_told_and_the_next_message_is(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("metamcp"), "propagate", True)
    talk = Talk(house, Hears)
    for data in ("refuse", "fail", "told"):
        talk.log(data)
        talk.progress(message=data)
    assert [log["data"] for log in talk.heard(LOG)] == ["told"]
    assert [progress["message"] for progress in talk.heard(PROGRESS)] == ["told"]
    told = [record.fields for record in caplog.records if record.getMessage() == "middleware-failed"]
    assert [one["error"] for one in told] == ["KeyError"] * 2 and "s3cret" not in str(told)
    house.answer(texts("done"))
    assert talk.got.result["content"][0]["text"] == "done"


def test_question_goes_through_the_hook(house: House) -> None:
    talk = Talk(house, Hears)
    talk.asks("Who?")
    (asked,) = talk.heard(ASKED)
    assert (asked["message"], asked["signed"]) == ("Who?", "me")
    assert [seen[:3] for seen in Hears.seen] == [(ASKED, "git", True)], "once"


@pytest.mark.parametrize(("word", "code"), [("refuse", -31005), ("fail", -31007)])
def test_question_that_is_refused_is_the_servers_error_and_nobody_is_asked(
    house: House, word: str, code: int
) -> None:
    talk = Talk(house, Hears)
    talk.asks(word)
    assert talk.heard(ASKED) == []
    if talk.modern:  # it waits for nothing, and no answer to a question says that it was not asked
        assert talk.got.error["code"] == code and "'Hears'" in talk.got.error["message"]
        return
    error = talk.answered()["error"]
    assert error["code"] == code and "'Hears'" in error["message"] and "s3cret" not in str(error)
    house.answer(texts("done without"))
    assert talk.got.result["content"][0]["text"] == "done without"


def test_question_that_its_client_cannot_answer_is_refused_before_any_hook() -> None:
    for client in ("session", "stateless"):
        talk = Talk(House(client, "legacy"), Hears)
        talk.child.say({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {}})
        assert talk.answered()["error"]["code"] == -32601 and Hears.seen == []


def test_one_refused_question_of_several_ends_a_call_of_2026_07_28_once_and_none_is_asked() -> None:
    for client in ("session", "stateless"):
        talk = Talk(House(client, "modern"), Hears)
        questions = {key: {"method": ASKED, "params": ELICIT | {"message": key}} for key in ("one", "refuse", "two")}
        talk.child.result(talk.call["id"], {"resultType": "input_required", "inputRequests": questions})
        assert talk.heard(ASKED) == [] and talk.got.error["code"] == -31005


def test_questions_that_cannot_be_read_are_the_servers_fault() -> None:
    talk = Talk(House("stateless", "modern"), Hears)
    talk.child.result(talk.call["id"], {"resultType": "input_required", "inputRequests": {"a": {"params": {}}}})
    assert talk.got.error["code"] == ServerMisbehaved.code and "method" in talk.got.error["message"]


def test_address_that_an_error_wants_opened_is_a_question_too() -> None:
    for message, heard in (("Look", 1), ("refuse", 0)):
        talk = Talk(House("stateless", "legacy"), Hears)
        wanted = {"elicitations": [{"mode": "url", "url": "https://a/b", "message": message, "elicitationId": "1"}]}
        error = {"code": -32042, "message": "open it", "data": wanted}
        talk.child.say({"jsonrpc": "2.0", "id": talk.call["id"], "error": error})
        asked = talk.heard(ASKED)
        assert len(asked) == heard and all(each["signed"] == "me" for each in asked)
        assert heard or talk.got.error["code"] == -31005


def test_several_go_from_the_last_to_the_first_as_answers_do(house: House) -> None:
    class Second(Hears):
        def on_message(self, message: Message, context: Context) -> None:
            message.params = message.params | {"order": [*message.params.get("order", []), "second"]}

    class First(Hears):
        def on_message(self, message: Message, context: Context) -> None:
            message.params = message.params | {"order": [*message.params.get("order", []), "first"]}

    talk = Talk(house, First, Second)
    talk.progress()
    talk.log("x")
    talk.asks("Who?")
    for method in (PROGRESS, LOG, ASKED):
        assert [heard["order"] for heard in talk.heard(method)] == [["second", "first"]]


@pytest.mark.parametrize("left", [b"[]", b"{", b'{"a":', "{}", None])
def test_hook_that_leaves_what_no_params_can_be_fails(house: House, left: Any) -> None:
    class Breaks(Middleware):
        def on_message(self, message: Message, context: Context) -> None:
            message.raw = left

    talk = Talk(house, Breaks)
    talk.log("x")
    talk.progress()
    talk.asks("Who?")
    assert talk.heard(LOG) == talk.heard(PROGRESS) == talk.heard(ASKED) == []
    error = talk.got.error if talk.modern else talk.answered()["error"]
    assert error["code"] == -31007


# --- where nobody has it -----------------------------------------------------------------------------------


def test_without_the_hook_messages_keep_their_bytes_and_nothing_is_looked_at(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nobody wants to see it")

    monkeypatch.setattr("metamcp.gateway.middleware.hearing.Hearing.__init__", never)
    talk = Talk(house, built_in("call-log"), built_in("time-budget", seconds=30))
    params = b'{ "level" : "error", "data":[1.50,123456789012345678901,"\\u0041\\/"] }'
    talk.child.say(b'{"jsonrpc":"2.0","method":"notifications/message","params":' + params + b"}")
    (raw,) = [message for message in talk.messages if b"notifications/message" in message]
    assert params in raw
    asked = b'{"message" : "\\u0041", "requestedSchema":{"type":"object","properties":{ }}}'
    if talk.modern:
        question = b'{"q":{"method":"elicitation/create","params":' + asked + b"}}"
        result = b'{"resultType":"input_required","inputRequests":' + question + b"}"
        talk.child.say(b'{"jsonrpc":"2.0","id":%d,"result":' % talk.call["id"] + result + b"}")
    else:
        talk.child.say(b'{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":' + asked + b"}")
        house.reactor.advance(GATHER_SECONDS)
    (raw,) = [message for message in talk.messages if b"elicitation/create" in message]
    assert json.loads(asked) in talk.heard(ASKED) and (asked in raw or house.stateless is not None)


# --- which namespace's -------------------------------------------------------------------------------------


class Recipient:
    """A subscriber of ``file:///docs/a`` at ``endpoint``, with a session or without."""

    def __init__(self, house: House, kind: str, endpoint: str) -> None:
        self.house, self.got = house, Got()
        if kind == "stateless":
            client = StatelessClient(house)
            client.client = Client(endpoint, "anonymous", "http", "", "2026-07-28")
            wanted = {"resourceSubscriptions": ["file:///docs/a"]}
            self.got = client.ask("subscriptions/listen", notifications=wanted)
            return
        self.client = Client(endpoint, "anonymous", "http")
        opened = self.ask("initialize", json.loads(HELLO))
        self.client = Client(endpoint, "anonymous", "http", opened.session)
        house.router.open(Listen(self.client, stream_name()), self.got.reply)
        self.ask("resources/subscribe", {"uri": "file:///docs/a"})

    def ask(self, method: str, params: Json) -> Got:
        got, payload = Got(), json.dumps(params).encode()
        self.house.router.open(Post(self.client, "request", method, b"1", payload, stream_name()), got.reply)
        self.house.reactor.turn()
        return got

    @property
    def updates(self) -> list[str]:
        return [event["params"]["uri"] for event in self.got.events if event["method"] == UPDATED]


@pytest.mark.parametrize("kind", ["session", "stateless"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_each_recipient_of_a_shared_instance_hears_it_through_its_own_namespace(kind: str, era: Any) -> None:
    house = House("session", era)
    spaces = {
        "all": NamespaceSpec("all", ("git",)),
        "safe": NamespaceSpec("safe", ("git",), middleware=(REDACT,)),
        "mute": NamespaceSpec("mute", ("git",), middleware=(MiddlewareSpec("Hears", {}, Hears),)),
    }
    ends = {name: EndpointSpec(name, "all" if name == "dev" else name) for name in ("dev", "safe", "mute")}
    house.reload({"git": ServerSpec("git", era=era, isolation="shared")}, spaces, ends)
    house.reactor.advance(1)
    recipients = {name: Recipient(house, kind, name) for name in ends}
    uri = f"file:///docs/a?{SECRET}&refuse"
    (child,) = (it for it in house.supervisor.children if "file:///docs/a" in str(it.messages))
    child.notify(UPDATED, uri=uri)
    told = {name: recipient.updates for name, recipient in recipients.items()}
    assert told == {"dev": [uri], "safe": ["file:///docs/a?***&refuse"], "mute": []}
    assert Hears.seen[-1][4] == Context("mute", "mute", "anonymous")


def test_listener_hears_nothing_of_a_server_that_its_endpoint_does_not_show() -> None:
    house = House("session", "modern")
    recipient = Recipient(house, "stateless", "dev")
    (listening,) = house.router.listenings
    for server in ("git", "nobody"):
        listening.updated(server, b'{"uri":"file:///docs/a"}')
    assert recipient.updates == ["file:///docs/a"]


def nested(house: House, outer: tuple[MiddlewareSpec, ...] = (), servers: tuple[str, ...] = ()) -> None:
    """The endpoint shows a namespace whose server comes out of another one, which hides the secret."""
    inner = NamespaceSpec("safe", ("git",), middleware=(REDACT,))
    house.reload(namespaces={
        "safe": inner, "all": NamespaceSpec("all", servers, namespaces=(inner,), middleware=outer),
    })  # fmt: skip
    house.reactor.turn()


def test_middleware_of_a_namespace_within_holds_in_the_outer_one_and_comes_first(house: House) -> None:
    nested(house, (MiddlewareSpec("Hears", {}, Hears),))
    talk = Talk(house)
    talk.progress(message=SECRET)
    talk.log(SECRET)
    talk.asks(SECRET)
    assert SECRET not in str(talk.messages) and SECRET not in str(Hears.seen) and len(Hears.seen) == 3
    assert [seen[4].namespace for seen in Hears.seen] == ["all"] * 3


def test_server_that_also_came_without_the_middleware_speaks_through_it() -> None:
    house = House("session", "legacy")
    nested(house, servers=("git",))
    talk = Talk(house)
    talk.log(SECRET)
    talk.asks(SECRET)
    assert [log["data"] for log in talk.heard(LOG)] == ["***"] and SECRET not in str(talk.messages)


def test_middleware_within_two_others_sees_a_message_once() -> None:
    house = House("session", "legacy")
    core = NamespaceSpec("core", ("git",), middleware=(MiddlewareSpec("Hears", {}, Hears),))
    sides = tuple(NamespaceSpec(name, (), namespaces=(core,), middleware=(REDACT,)) for name in ("left", "right"))
    house.reload(namespaces={it.name: it for it in (core, *sides, NamespaceSpec("all", (), namespaces=sides))})
    house.reactor.turn()
    Talk(house).log("x")
    assert [seen[0] for seen in Hears.seen] == [LOG]
    (stacks,) = house.namespaces.at("dev").hearing.values()  # type: ignore[union-attr]
    assert [stack.namespace for stack in stacks] == ["core", "left", "right"]


def test_middleware_follows_a_reload_but_for_calls_in_flight() -> None:
    house = House("session", "legacy")
    talk = Talk(house)
    talk.log(f"before {SECRET}")
    house.through(REDACT)
    talk.log(f"after {SECRET}")
    assert [log["data"] for log in talk.heard(LOG)] == [f"before {SECRET}", "after ***"]


def test_server_that_is_not_shown_any_more_neither_tells_nor_asks_but_answers() -> None:
    house = House("session", "legacy")
    talk = Talk(house)
    house.reload(namespaces={"all": NamespaceSpec("all", ())})
    talk.log("x")
    talk.asks("Who?")
    error = talk.answered()["error"]
    assert error["code"] == -31005 and "'git'" in error["message"]
    assert talk.heard(LOG) == talk.heard(ASKED) == []
    house.answer(texts("done"))
    assert talk.got.result["content"][0]["text"] == "done"


def test_middleware_that_could_not_be_made_lets_no_message_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    house = House("session", "legacy")
    talk = Talk(house)
    house.through(built_in("redact", values=["${NO_SUCH_TOKEN}"]))
    talk.log("x")
    talk.asks("Who?")
    assert talk.answered()["error"]["code"] == -31007 and talk.heard(LOG) == talk.heard(ASKED) == []


def test_hook_and_results_are_told_apart(house: House) -> None:
    """A result is no message, and a message is no result."""

    class Results(Hears):
        def on_result(self, call: Call, answer: Answer, context: Context) -> None:
            self.seen.append(("result",))

    talk = Talk(house, Results)
    talk.log("x")
    house.answer(texts("done"))
    assert [seen[0] for seen in Results.seen] == [LOG, "result"]


# --- redact ------------------------------------------------------------------------------------------------


SAID = st.recursive(
    st.text(max_size=6) | st.just(SECRET) | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.text(max_size=3) | st.just(SECRET), inner, max_size=2),
    max_leaves=6,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["log", "progress", "other", "asks"]), st.text(max_size=4), SAID, st.booleans()),
    min_size=1, max_size=4,
)  # fmt: skip


def say(talk: Talk, number: int, kind: str, text: str, said: Any, ascii_only: bool) -> None:
    message: Json = {"jsonrpc": "2.0", "method": LOG}
    message["params"] = {"level": "error", "data": said, "logger": f"{text}{SECRET}{text}", "more": {SECRET: said}}
    if kind == "progress":
        token = talk.call["params"]["_meta"]["progressToken"]
        message = message | {"method": PROGRESS}
        message["params"] |= {"progressToken": token, "progress": 1, "message": f"{SECRET}{text}"}
    elif kind == "other":
        message = message | {"method": f"notifications/{SECRET}" if ascii_only else "notifications/other"}
    elif kind == "asks" and not talk.modern:
        message = message | {"method": ASKED, "id": f"q{number}"}
        message["params"] |= {"message": SECRET}
    talk.child.say(json.dumps(message, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_no_secret_leaves_in_any_text_of_any_message(way: tuple[str, str], steps: list[Any]) -> None:
    talk = Talk(House(*way), REDACT)
    for number, step in enumerate(steps):
        say(talk, number, *step)
    talk.asks(f"{steps[0][1]}{SECRET}", "last")
    assert talk.heard(ASKED), "something was asked"
    for message in talk.messages:
        shown = json.loads(message)
        assert SECRET not in json.dumps(shown, ensure_ascii=False), shown
    assert all(heard["progressToken"] == "mine" for heard in talk.heard(PROGRESS))


def test_message_that_is_too_large_to_look_through_is_not_passed_on_and_a_question_is_refused() -> None:
    talk = Talk(House("session", "legacy"), built_in("redact", patterns=["x"], bytes=200))
    talk.log("y" * 200)
    talk.asks("y" * 200)
    assert talk.heard(LOG) == talk.heard(ASKED) == []
    assert "too many to look through" in talk.answered()["error"]["message"]


def test_pattern_that_fits_the_name_of_a_method_of_mcp_lets_it_pass(house: House) -> None:
    talk = Talk(house, built_in("redact", patterns=["notifications/.*"], known=False))
    talk.log("x")
    talk.progress(message="notifications/x")
    assert len(talk.heard(LOG)) == len(talk.heard(PROGRESS)) == 1
    assert talk.heard(PROGRESS)[0]["message"] == "***"


def test_message_without_params_passes() -> None:
    talk = Talk(House("session", "legacy"), REDACT, Hears)
    talk.child.say({"jsonrpc": "2.0", "method": "notifications/other"})
    assert talk.heard("notifications/other") == [{"signed": "me"}]
