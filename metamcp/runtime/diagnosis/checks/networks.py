"""Do containers reach what they may reach, and nothing else?"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from metamcp.errors import EngineUnavailable
from metamcp.runtime.diagnosis.bench import Bench
from metamcp.runtime.diagnosis.outcomes import CheckFailedError, NotApplicableError, Step
from metamcp.runtime.diagnosis.own_container import own_container
from metamcp.runtime.diagnosis.probe import Question
from metamcp.runtime.diagnosis.reachability import ADD_HOST, GATEWAY_NAME, Listening, port_for_containers
from metamcp.runtime.policy.network import INTERNAL

OUTSIDE = ("example.com", 443)
"""Reserved for examples (RFC 2606). A connection to it is opened and closed, from the default network."""

_SECONDS = 3.0
_LOCAL_SECONDS = 1.0
_HEALTH = f"GET /health HTTP/1.1\r\nHost: {GATEWAY_NAME}:{{port}}\r\nConnection: close\r\n\r\n"
_ISOLATE = (
    "The engine does not isolate networks: look whether it runs with --iptables=false, whether something else flushes "
    "its firewall rules, and whether the docker command is a wrapper that changes flags."
)


@dataclass(slots=True)
class NetworkChecks:
    """``listening``: where the web tier is, as far as this process knows. ``named``: the policy makes
    host.docker.internal known. ``internal_needed``: a configured server is on the internal network."""

    bench: Bench
    listening: Listening
    named: bool
    internal_needed: Callable[[], bool]
    outside: tuple[str, int] = OUTSIDE
    _port: int = 0
    _why_not: str = ""
    _answers: tuple[dict[str, Any], ...] = ()
    _reached: list[str] = field(default_factory=list)  # addresses of the outside that the default network leads to

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("network-none", self._none, ("round-trip",)),
            Step("network-egress", self._egress, ("round-trip",)),
            Step("network-internal", self._internal, ("round-trip",)),
            Step("host-name", self._name, ("network-egress",)),
            Step("host-gateway", self._gateway, ("host-name",)),
        )

    def _none(self) -> str:
        run = self.bench.first
        if run is None or not run.answers:
            raise NotApplicableError("the container did not say what it sees: its image has another program")
        seen = run.answers[0]
        if seen["wayOut"] or seen["interfaces"] != ["lo"]:
            detail = f"with --network none it has the interfaces {', '.join(seen['interfaces'])}{_way(seen)}"
            raise CheckFailedError(detail, _ISOLATE)
        return "with --network none a container has its loopback and nothing else"

    def _egress(self) -> str:
        """One container for everything that is asked of the default network."""
        self._find_port()
        host, port = self.outside
        questions: list[Question] = [
            {"ask": "look"},
            {"ask": "reach", "host": host, "port": port, "seconds": _SECONDS},
            {"ask": "reach", "host": GATEWAY_NAME, "port": self._port, "seconds": _SECONDS,
             "say": _HEALTH.format(port=self._port)},
        ]  # fmt: skip
        self._answers = self.bench.ask(questions, ADD_HOST if self.named else ()).answers
        seen, outside, _ = self._answers
        if outside["outcome"] == "connected":
            self._reached = [outside["address"]]
            return f"the default network leads out: {host}:{port} was reached"
        if not seen["wayOut"]:
            return "the default network has no way out: there is no route; servers in it reach nothing else either"
        return f"the default network has a route, but {host}:{port} was not reached ({outside['outcome']})"

    def _internal(self) -> str:
        try:
            self.bench.engine.ensure_internal_network(INTERNAL)
        except EngineUnavailable as error:
            if self.internal_needed():
                raise
            text = f"no configured server is on the internal network, and it cannot be made: {error.text}"
            raise NotApplicableError(text) from error
        trial = _Trial(self.bench, [(address, self.outside[1]) for address in self._reached])
        self.bench.ask([{"ask": "listen"}], (), trial.begin)
        if trial.reached:
            detail = f"a container on {INTERNAL} reaches {', '.join(trial.reached)}, which is outside"
            raise CheckFailedError(detail, _ISOLATE)
        if not trial.controlled:
            return f"{INTERNAL} is what the engine calls internal; here is nothing outside that could prove more"
        return f"a container on {INTERNAL} does not reach what others reach: {', '.join(trial.controlled)}"

    def _name(self) -> str:
        if not self.named:
            raise NotApplicableError("TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL is off: servers are not told that name")
        found = self._answers[2]
        if not found["addresses"]:
            hint = "Docker knows host-gateway since 20.10; other engines and rootless ones may need it configured."
            raise CheckFailedError(f"{GATEWAY_NAME} is {found['outcome']} in a container", hint)
        return f"{GATEWAY_NAME} is {', '.join(found['addresses'])} in a container"

    def _gateway(self) -> str:
        if self._why_not:
            raise NotApplicableError(self._why_not)
        found = self._answers[2]
        problem = gateway_problem(found, self._port, self.listening.host)
        if problem:
            raise CheckFailedError(*problem)
        return f"the gateway answers a container at {GATEWAY_NAME}:{self._port}"

    def _find_port(self) -> None:
        try:
            own = None if self.listening.loopback_only else own_container(self.bench.engine)
            self._port = port_for_containers(self.listening, self.bench.docker_host, own)
            _has_to_listen(self.listening)
        except NotApplicableError as error:
            self._port, self._why_not = 0, str(error)


class _Trial:
    """A container of the internal network, while one of the default network listens. What it does not reach proves
    something where somebody else did (``controlled``)."""

    def __init__(self, bench: Bench, outside: Sequence[tuple[str, int]]) -> None:
        self.controlled = [f"{address}:{port}" for address, port in outside]
        self.reached: list[str] = []
        self._bench = bench
        self._outside = list(outside)

    def begin(self, answers: Sequence[Mapping[str, Any]]) -> None:
        for listening in answers:
            neighbour = (listening["address"], listening["port"])
            self._outside.append(neighbour)
            with suppress(OSError):
                socket.create_connection(neighbour, _LOCAL_SECONDS).close()
                self.controlled.append(f"{neighbour[0]}:{neighbour[1]}, a container of the default network")
        asked = [{"ask": "reach", "host": host, "port": port, "seconds": _SECONDS} for host, port in self._outside]
        found = self._bench.ask(asked, ("--network", INTERNAL)).answers
        self.reached = [
            f"{host}:{port}"
            for (host, port), answer in zip(self._outside, found, strict=True)
            if answer["outcome"] == "connected"
        ]


def gateway_problem(found: Mapping[str, Any], port: int, host: str) -> tuple[str, str] | None:
    """What is wrong and what to do, by the answer that a container got from ``port`` of its host."""
    where = f"{GATEWAY_NAME}:{port}"
    if found["outcome"] != "connected":
        hint = (
            f"The gateway listens ({host}), so something between drops it: allow {port}/tcp from Docker's bridges in "
            f"the firewall of the engine's machine (with ufw: ufw allow in on docker0 to any port {port} proto tcp)."
        )
        if host not in ("0.0.0.0", "::"):
            hint = f"Bind every address (METAMCP_BIND=0.0.0.0:{port}) or the one that {GATEWAY_NAME} is. {hint}"
        return f"{where} was not reached from a container ({found['outcome']})", hint
    if '"status":"ok"' not in found["said"]:
        said = found["said"].splitlines()[0] if found["said"] else "nothing"
        hint = (
            f"If it is this gateway: put {GATEWAY_NAME} into METAMCP_ALLOWED_HOSTS. Otherwise another program has that "
            "port of the engine's machine: publish the gateway's."
        )
        return f"{where} answered a container with {said}", hint
    return None


def _way(seen: Mapping[str, Any]) -> str:
    return ", and a route out" if seen["wayOut"] else ""


def _has_to_listen(listening: Listening) -> None:
    """Without a gateway there is nothing to be reached. Raises NotApplicableError."""
    host, port = listening.here
    try:
        socket.create_connection((host, port), _LOCAL_SECONDS).close()
    except OSError as error:
        raise NotApplicableError(f"no gateway listens at {host}:{port} here ({error.strerror or error})") from error
