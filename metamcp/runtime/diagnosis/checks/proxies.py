"""Does what stands between let streams through: in front of the gateway, and in front of the engine?"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from metamcp.runtime.cuts import CUT_HINT, Cuts
from metamcp.runtime.diagnosis.advice import socket_path
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, NotApplicableError, Step
from metamcp.runtime.diagnosis.stream_client import NOTHING_MORE, Seen, Wanted, observe
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import INSTANCE

BUFFERING = Wanted(events=3, every=0.75)
_SHARE = 0.5  # of the time that the events should be apart
_UNBUFFER = (
    "The proxy holds events back until it has enough of them, or all. nginx: proxy_http_version 1.1, proxy_buffering "
    "off, no proxy_ignore_headers X-Accel-Buffering, no gzip of text/event-stream; Apache: flushpackets=on; other "
    "proxies: switch response buffering and compression off for these paths."
)


@dataclass(frozen=True, slots=True)
class Address:
    """Of one probe stream. ``headers``: what lets us in."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProxyChecks:
    """``address`` gives None where no way to the gateway was named. ``silence``: seconds that a stream has to survive;
    0: nobody asked for that, since it takes so long. ``cuts``: what the running gateway has seen itself."""

    engine: Engine
    docker_host: str
    address: Callable[[], Address | None]
    silence: float
    cuts: Cuts

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("proxy-buffering", self._buffering),
            Step("proxy-silence", self._silence),
            Step("engine-silence", self._engine_silence, ("engine",)),
        )

    def _buffering(self) -> str:
        seen = self._observed(BUFFERING)
        problem = buffering_problem(seen, BUFFERING)
        if problem:
            raise CheckFailedError(*problem)
        return f"{len(seen.events)} events came one after the other, the first after {seen.events[0]:.2f} s"

    def _silence(self) -> str:
        if not self.silence:
            raise NotApplicableError("it takes as long as the silence: python -m metamcp doctor --silence 65")
        wanted = Wanted(events=2, every=self.silence)
        problem = silence_problem(self._observed(wanted), wanted)
        if problem:
            raise CheckFailedError(*problem)
        return f"a stream survived {self.silence:g} s of silence"

    def _observed(self, wanted: Wanted) -> Seen:
        address = self.address()
        if address is None:
            raise NotApplicableError("no address to try: set METAMCP_PUBLIC_URL, or doctor --url URL")
        seen = observe(address.url, address.headers, wanted)
        if not seen.is_stream:
            raise CheckFailedError(*refusal(seen, address.url))
        return seen

    def _engine_silence(self) -> str:
        """The gateway holds connections to the engine that are silent as long as a server is idle."""
        if self.cuts.seconds is not None:
            detail = f"connections to {self.docker_host} were cut after {self.cuts.seconds:.0f} s of silence"
            raise CheckFailedError(detail, CUT_HINT)
        if socket_path(self.docker_host) is not None:
            raise NotApplicableError(f"{self.docker_host} has nothing between, and no connection to it was cut so far")
        if not self.silence:
            raise NotApplicableError(
                "no connection was cut so far; to try it: python -m metamcp doctor --silence 605 (seconds; the "
                "time-outs of socket proxies are 10 min by default)"
            )
        return self._held(self.silence)

    def _held(self, seconds: float) -> str:
        stream = self.engine.events({INSTANCE: f"nobody-{secrets.token_hex(4)}"})  # of whom nothing is to be told
        over = threading.Event()

        def end() -> None:
            over.set()
            stream.close()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            with suppress(StopIteration):
                next(stream)
            cut = not over.is_set()
        finally:
            timer.cancel()
            timer.join()
            stream.close()
        if cut:
            raise CheckFailedError(f"a silent connection to {self.docker_host} was cut before {seconds:g} s", CUT_HINT)
        return f"a connection to {self.docker_host} survived {seconds:g} s of silence"


def buffering_problem(seen: Seen, wanted: Wanted) -> tuple[str, str] | None:
    """Detail and hint, or None: the events came when they were sent."""
    if len(seen.events) < wanted.events:
        came = f"{len(seen.events)} of {wanted.events} events came within {seen.end:.1f} s"
        return f"{came}: {seen.trouble}", _UNBUFFER
    if seen.events[-1] - seen.events[0] < wanted.seconds * _SHARE:
        detail = f"events that were sent over {wanted.seconds:g} s came all at once after {seen.events[0]:.1f} s"
        return detail, _UNBUFFER
    return None


def silence_problem(seen: Seen, wanted: Wanted) -> tuple[str, str] | None:
    if len(seen.events) >= wanted.events:
        return None
    after = seen.end - (seen.events[-1] if seen.events else 0.0)
    if not seen.events or seen.trouble == NOTHING_MORE:
        return f"the stream did not go on after {wanted.every:g} s of silence: {seen.trouble}", _UNBUFFER
    hint = (
        f"Something in front of the gateway ends connections after about {after:.0f} s of silence. nginx: "
        "proxy_read_timeout 1h (60s by default); HAProxy: timeout server and timeout tunnel; a cloud's load balancer: "
        "its idle timeout. The gateway's own streams carry a comment each 15 s; a call of a client that takes JSON "
        "alone is silent as long as its server works."
    )
    return f"the stream was cut after {after:.1f} s of silence: {seen.trouble}", hint


def refusal(seen: Seen, url: str) -> tuple[str, str]:
    """No stream came at all."""
    if seen.head is None:
        hint = "Check the address, its name in DNS, its certificate, and that the proxy runs and leads to the gateway."
        return f"{url}: {seen.trouble}", hint
    hint = {
        401: "The endpoint asks for a key: set METAMCP_API_KEY for doctor, or run it where the gateway's state is.",
        403: "The key has not the scope of this endpoint, or the proxy forbids this path.",
        404: "The endpoint is not there, or the proxy does not pass this path on to the gateway.",
        421: "Put this host name into METAMCP_ALLOWED_HOSTS; without API keys only loopback names are served.",
        429: "Too many probes at once, or too many requests of this client: try again later.",
        502: "The proxy does not reach the gateway: check that it runs, and the proxy's upstream address.",
        504: "The proxy gave up waiting for the gateway: it does not answer, or the proxy's time-out is too short.",
    }.get(seen.status, "This is not the gateway's answer: check the address and where the proxy leads it.")
    if 300 <= seen.status < 400:
        hint = "Name the address that it redirects to: clients may lose their key or body on the way."
    return f"{url} answered {seen.status} {seen.content_type}: {seen.said}".rstrip(": "), hint
