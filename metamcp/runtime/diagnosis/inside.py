"""The program that a check runs in its container: ``python3 -I -S -c`` and this text, standard library only, any
Python from 3.7 on.

Each line of its input is a question, and gets one line as its answer: a message of JSON-RPC itself, and an ``ask`` what
was found, as JSON. It ends with its input.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

ELSEWHERE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses that nobody has (RFC 5737, RFC 3849): connecting a datagram socket to one sends nothing, and tells whether
there is a route."""

MOST_BYTES = 2000

Question = Mapping[str, Any]


def look(_question: Question) -> dict[str, Any]:
    """What the kernel says about this container. Bytes, CPUs; -1 is no limit, None could not be read."""
    status = _status()
    return {
        "memory": _number("memory.max", "memory/memory.limit_in_bytes"),
        "swap": _swap(),
        "cpus": _cpus(),
        "pids": _number("pids.max", "pids/pids.max"),
        "capabilities": status.get("CapBnd"),
        "noNewPrivileges": status.get("NoNewPrivs"),
        "readOnly": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "wayOut": any(_way_to(address, family) for address, family in ELSEWHERE),
    }


def listen(_question: Question) -> dict[str, Any]:
    """Accept connections on a free ``port`` of all addresses, until the end; ``address``: one of them."""
    listening = socket.create_server(("", 0))

    def accept() -> None:
        while True:
            listening.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()
    address = _way_to(*ELSEWHERE[0]) or socket.gethostbyname(socket.gethostname())
    return {"address": address, "port": listening.getsockname()[1]}


def reach(question: Question) -> dict[str, Any]:
    """Resolve ``host``, connect to its ``port`` (0: do not), send ``say``, read what comes; each within ``seconds``."""
    addresses, trouble = _resolve(question["host"], question["seconds"])
    found = {"addresses": addresses, "outcome": trouble, "said": ""}
    for address in addresses if question["port"] else []:
        found["outcome"], found["said"] = _converse(address, question)
        if found["outcome"] == "connected":
            found["address"] = address
            break
    return found


def _converse(address: str, question: Question) -> tuple[str, str]:
    try:
        with socket.create_connection((address, question["port"]), question["seconds"]) as connection:
            said = b""
            if question.get("say"):
                connection.sendall(question["say"].encode())
                said = _until_closed(connection)
            return "connected", said.decode("utf-8", "replace")
    except OSError as error:
        timed_out = isinstance(error, socket.timeout)
        return ("timed out" if timed_out else errno.errorcode.get(error.errno or 0, str(error))), ""


def _until_closed(connection: socket.socket) -> bytes:
    """Bounded; what has come when it falls silent counts."""
    said = b""
    with contextlib.suppress(OSError):
        while len(said) < MOST_BYTES:
            chunk = connection.recv(MOST_BYTES)
            if not chunk:
                break
            said += chunk
    return said


def _resolve(host: str, seconds: float) -> tuple[list[str], str]:
    """In a thread, since a resolver has its own idea of how long it may take."""
    found: list[tuple[list[str], str]] = []

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.append((sorted({str(info[4][0]) for info in infos}), ""))
        except (OSError, UnicodeError) as error:
            found.append(([], "not resolved: " + str(getattr(error, "strerror", None) or error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else ([], "not resolved: no answer in time")


def _way_to(address: str, family: int) -> str:
    """The address from which it would be tried; "": there is no route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _status() -> dict[str, int]:
    """Of this process (proc(5)), as numbers."""
    found = {}
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123  less to load
        for line in file:
            name, _, value = line.partition(":")
            if name in ("CapBnd", "NoNewPrivs"):
                found[name] = int(value.strip(), 16)
    return found


def _read(name: str) -> str | None:
    try:
        with open("/sys/fs/cgroup/" + name, encoding="ascii") as file:  # noqa: PTH123  likewise
            return file.read().strip()
    except OSError:
        return None


def _number(*names: str) -> int | None:
    """Of the first of these files that is there: of cgroup v2, of v1."""
    for name in names:
        text = _read(name)
        if text is not None:
            return -1 if text == "max" or int(text) >= 1 << 60 else int(text)
    return None


def _swap() -> int | None:
    """Beside the memory; v1 counts both together."""
    both, memory = _number("memory/memory.memsw.limit_in_bytes"), _number("memory/memory.limit_in_bytes")
    if both is not None and memory is not None:
        return -1 if both == -1 else both - memory
    return _number("memory.swap.max")


def _cpus() -> float | None:
    text = _read("cpu.max")
    if text is None:
        quota, period = _read("cpu/cpu.cfs_quota_us"), _read("cpu/cpu.cfs_period_us")
        text = None if quota is None or period is None else quota + " " + period
    if text is None:
        return None
    quota, period = text.split()
    return -1 if quota in ("max", "-1") else int(quota) / int(period)


def main() -> None:
    for line in sys.stdin:
        asked = {"look": look, "reach": reach, "listen": listen}.get(json.loads(line).get("ask"))
        sys.stdout.write(line if asked is None else json.dumps(asked(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
