"""Which networks a container joins, who it is there, and which names of hosts it knows."""

from __future__ import annotations

import re

from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.command.localhost import HOST_GATEWAY
from metamcp.runtime.policy.case import WIDEN, Action, Case, Part, Step, part, refuse

OWNED = frozenset({"network", "network-alias", "ip", "ip6", "link-local-ip", "add-host"})

INTERNAL = "metamcp-internal"  # a network without a way out; the engine's keeper creates it

_IDENTITY = ("network-alias", "ip", "ip6", "link-local-ip")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NONE, _INTERNAL, _OPEN = 0, 1, 2  # from the strictest


def rule_network(case: Case, run: DockerRun) -> Part:
    networks = final_networks(case, run)
    return networks + _identity(case, run, networks) + _hosts(case, run, is_cut_off(networks))


def is_cut_off(networks: Part) -> bool:
    return networks.options == (("network", "none"),)


def final_networks(case: Case, run: DockerRun) -> Part:
    """The stricter of what the arguments and the server's configuration say; no option is the default bridge."""
    own = tuple(dict.fromkeys(_checked(case, value) for value in run.values("network")))
    strictest = min((_rank(name) for name in own), default=_OPEN)
    wanted = tuple(name for name in own if _rank(name) == strictest)
    configured = {"none": "none", "internal": INTERNAL}.get(case.spec.network, "")
    if configured and _rank(configured) < strictest:
        action: Action = "rewritten" if own else "added"
        note = f"the server's configuration says network {case.spec.network!r}"
        return part("network", (configured,), Step(action, "--network", "network", note))
    return part("network", wanted, *_network_steps(run, wanted, configured))


def _network_steps(run: DockerRun, wanted: tuple[str, ...], configured: str) -> tuple[Step, ...]:
    lost = len(run.values("network")) - len(wanted)
    steps = [Step("dropped", "--network", "network", "the strictest one counts")] if lost else []
    if wanted and wanted != (configured,):
        steps.append(Step("kept", "--network", "network", f"{', '.join(wanted)}: written in the arguments"))
    return tuple(steps)


def _checked(case: Case, value: str) -> str:
    if value in ("none", INTERNAL, "bridge", "default"):
        return "bridge" if value == "default" else value
    if value.lower() == "host" or value.startswith(("container:", "ns:")):
        refuse(case, "network-host", f"--network={value} is refused: it shares another network stack", "remove it")
    if _NAME.fullmatch(value) is None:
        refuse(case, "network", "--network holds more than the name of a network", "write the plain name")
    if not case.allow.network or value == "container":
        text = f"--network={value} is refused: it reaches other containers"
        refuse(case, "network", text, f"remove it, or {WIDEN}")
    return value


def _rank(name: str) -> int:
    return {"none": _NONE, INTERNAL: _INTERNAL}.get(name, _OPEN)


def _identity(case: Case, run: DockerRun, networks: Part) -> Part:
    """Aliases and fixed addresses make sense in a network of the operator's, and can take a neighbour's place."""
    written = [pair for pair in run.options if pair[0] in _IDENTITY]
    if written and not case.allow.network:
        flag = written[0][0]
        refuse(case, "network-identity", f"--{flag} is refused: it can stand in for another container", WIDEN)
    if any(name not in ("none", "bridge", INTERNAL) for _, name in networks.options):
        return Part(tuple(written))
    note = "only a network of your own has names and fixed addresses"
    return Part((), tuple(Step("dropped", f"--{name}", "network-identity", note) for name, _ in written))


def _hosts(case: Case, run: DockerRun, cut_off: bool) -> Part:
    """What pointed at localhost, keys and passwords with it, goes to ``host.docker.internal``: that stays the engine's
    machine, whatever is written."""
    written = run.values("add-host")
    if cut_off or not case.host_gateway:
        return part("add-host", written)
    ours = f"{HOST_GATEWAY}:host-gateway"
    own = tuple(value for value in written if re.split("[:=]", value, maxsplit=1)[0].lower() != HOST_GATEWAY)
    if len(own) < len(written) and ours in written:
        return part("add-host", (*own, ours))
    action: Action = "added" if own == written else "rewritten"
    step = Step(action, "--add-host", "host-gateway", f"{HOST_GATEWAY} names the engine's machine")
    return part("add-host", (*own, ours), step)
