"""What arrived when, as a client of the probe stream sees it, and what that says about what stands between."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from loopback import Line, loopback

from metamcp.runtime.cuts import Cuts
from metamcp.runtime.diagnosis.checks.proxies import (
    BUFFERING,
    Address,
    ProxyChecks,
    buffering_problem,
    refusal,
    silence_problem,
)
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, NotApplicableError
from metamcp.runtime.diagnosis.stream_client import Seen, Wanted, observe

EVENT = b'event: probe\ndata: {"number":0}\n\n'
QUICK = Wanted(events=3, every=0.2)
URL = "https://mcp.example.com/sse/probe"


def seen(*events: float, end: float | None = None, trouble: str = "") -> Seen:
    return Seen(200, "text/event-stream", 0.1, events, events[-1] if end is None else end, trouble)


# --- judgements --------------------------------------------------------------------------------------------


def test_events_that_come_as_they_are_sent_are_no_problem() -> None:
    assert buffering_problem(seen(0.1, 0.85, 1.6), BUFFERING) is None
    assert buffering_problem(seen(5.0, 5.7, 6.4), BUFFERING) is None  # far away, but not held back


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (seen(1.6, 1.6, 1.6), "all at once after 1.6 s"),
        (seen(1.2, 1.6, 1.6), "all at once after 1.2 s"),
        (Seen(200, "text/event-stream", 0.1, (), 6.5, "nothing more came in time"), "0 of 3 events came within 6.5 s"),
    ],
)
def test_events_that_come_together_were_held_back(found: Seen, said: str) -> None:
    problem = buffering_problem(found, BUFFERING)
    assert problem is not None
    assert said in problem[0] and "proxy_buffering off" in problem[1]


def test_a_stream_that_goes_on_after_its_silence_is_no_problem() -> None:
    assert silence_problem(seen(0.1, 65.2), Wanted(2, 65.0)) is None


def test_a_stream_that_ends_within_its_silence_was_cut() -> None:
    problem = silence_problem(seen(0.1, end=60.2, trouble="the connection was cut"), Wanted(2, 65.0))
    assert problem is not None
    assert "cut after 60.1 s" in problem[0] and "after about 60 s" in problem[1] and "proxy_read_timeout" in problem[1]


def test_a_stream_that_says_nothing_after_its_silence_is_held_back() -> None:
    problem = silence_problem(seen(0.1, end=70.0, trouble="nothing more came in time"), Wanted(2, 65.0))
    assert problem is not None
    assert "did not go on" in problem[0] and "proxy_buffering off" in problem[1]


@pytest.mark.parametrize(
    ("status", "hint"),
    [(301, "redirects"), (401, "METAMCP_API_KEY"), (404, "this path"), (421, "METAMCP_ALLOWED_HOSTS"),
     (502, "upstream"), (504, "gave up"), (418, "not the gateway")],
)  # fmt: skip
def test_every_answer_that_is_no_stream_has_its_advice(status: int, hint: str) -> None:
    detail, advice = refusal(Seen(status, "text/html", 0.1, (), 0.1, "", "<html>"), URL)
    assert f"answered {status}" in detail and hint in advice


def test_no_answer_at_all_is_told_as_what_it_is() -> None:
    detail, advice = refusal(Seen(trouble="the connection was cut"), URL)
    assert detail == f"{URL}: the connection was cut" and "DNS" in advice


# --- the client --------------------------------------------------------------------------------------------


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def serving(*parts: tuple[float, bytes], head: bytes = b"", end: bytes = b"0\r\n\r\n") -> Callable[[Line], None]:
    """A head, then each part after so many seconds of silence."""
    pause = threading.Event()

    def serve(line: Line) -> None:
        line.say(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            b"Transfer-Encoding: chunked\r\n" + head + b"\r\n"
        )
        for seconds, data in parts:
            pause.wait(seconds)
            line.say(data)
        line.say(end)

    return serve


def watched(handler: Callable[[Line], None], wanted: Wanted = QUICK, slack: float = 5.0) -> tuple[Seen, str]:
    with loopback(handler) as server:
        found = observe(server.url, {"X-Key": "k"}, wanted, slack)
        return found, server.next().head


def test_events_are_told_when_they_come() -> None:
    found, head = watched(serving((0, chunk(EVENT)), (0.2, chunk(EVENT)), (0.2, chunk(EVENT))))
    assert found.is_stream and found.trouble == ""
    assert len(found.events) == 3
    assert found.events[2] - found.events[0] > 0.3
    assert buffering_problem(found, QUICK) is None
    assert "GET /mcp?events=3&every=0.2 HTTP/1.1" in head and "X-Key: k" in head and "gzip" in head


def test_events_that_come_at_once_look_so() -> None:
    found, _ = watched(serving((0.4, chunk(EVENT * 3))))
    assert buffering_problem(found, QUICK) is not None


def test_an_event_that_comes_in_pieces_counts_when_it_is_whole() -> None:
    found, _ = watched(serving((0, chunk(EVENT[:5])), (0.1, chunk(EVENT[5:-1])), (0.1, chunk(b"\n" + EVENT * 2))))
    assert len(found.events) == 3 and found.events[0] > 0.15


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_a_proxy_compresses_is_read(coding: str) -> None:
    body = gzip.compress(EVENT * 3) if coding == "gzip" else zlib.compress(EVENT * 3)
    found, _ = watched(serving((0, chunk(body)), head=f"Content-Encoding: {coding}\r\n".encode()))
    assert len(found.events) == 3


def test_a_connection_that_is_cut_is_told_from_one_that_ends() -> None:
    cut, _ = watched(serving((0, chunk(EVENT)), (0.2, b""), end=b""))
    assert len(cut.events) == 1 and cut.trouble == "the connection was cut"
    ended, _ = watched(serving((0, chunk(EVENT))))
    assert ended.trouble == "the connection was closed"
    assert silence_problem(cut, QUICK) is not None and silence_problem(ended, QUICK) is not None


def test_a_stream_that_hangs_is_given_up_in_time() -> None:
    def hang(line: Line) -> None:
        serving((0, chunk(EVENT)), end=b"")(line)
        line.closed()

    found, _ = watched(hang, Wanted(2, 0.2), slack=0.3)
    assert found.trouble == "nothing more came in time"
    assert 0.3 < found.end < 3


def test_a_server_that_trickles_is_given_up_in_time() -> None:
    def trickle(line: Line) -> None:
        with suppress(OSError):
            serving(*[(0.05, chunk(b":\n"))] * 200)(line)

    found, _ = watched(trickle, Wanted(2, 0.2), slack=0.3)
    assert found.trouble == "nothing more came in time" and found.end < 5


def test_another_answer_is_repeated_and_no_redirect_is_followed() -> None:
    moved, _ = watched(lambda line: line.answer("302 Found", b"<a>\n there", "Location: http://127.0.0.1:1/"))
    assert (moved.status, moved.said, moved.is_stream) == (302, "<a> there", False)


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = observe(f"http://127.0.0.1:{port}/x", {}, QUICK)
    assert found.head is None and found.trouble == "the connection was cut"


# --- the checks --------------------------------------------------------------------------------------------


def checks(url: str = "", silence: float = 0.0, cuts: Cuts | None = None, host: str = "tcp://proxy:2375") -> Any:
    address = Address(url, {}) if url else None
    engine: Any = None
    steps = ProxyChecks(engine, host, lambda: address, silence, cuts or Cuts()).steps()
    return {step.name: step.act for step in steps}


def test_without_an_address_there_is_nothing_to_try() -> None:
    for name in ("proxy-buffering", "proxy-silence"):
        with pytest.raises(NotApplicableError, match="METAMCP_PUBLIC_URL"):
            checks(silence=1.0)[name]()


def test_silence_is_only_tried_when_somebody_asks_for_it() -> None:
    with pytest.raises(NotApplicableError, match="--silence 65"):
        checks("http://127.0.0.1:1/")["proxy-silence"]()
    with pytest.raises(NotApplicableError, match="--silence 605"):
        checks()["engine-silence"]()


def test_what_the_gateway_has_seen_itself_is_told_at_once() -> None:
    cuts = Cuts()
    cuts.lost(600.2)
    with pytest.raises(CheckFailedError, match="cut after 600 s") as caught:
        checks(cuts=cuts)["engine-silence"]()
    assert "timeout server" in caught.value.hint


def test_a_socket_of_this_machine_has_nothing_between() -> None:
    with pytest.raises(NotApplicableError, match="nothing between"):
        checks(silence=1.0, host="unix:///var/run/docker.sock")["engine-silence"]()


def test_a_refusal_is_a_failure_of_both() -> None:
    with loopback(lambda line: line.answer("401 Unauthorized", b"{}")) as server:
        built = checks(server.url, silence=0.1)
        for name in ("proxy-buffering", "proxy-silence"):
            with pytest.raises(CheckFailedError, match="answered 401"):
                built[name]()
