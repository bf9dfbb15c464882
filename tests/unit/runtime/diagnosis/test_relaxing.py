from __future__ import annotations

import dataclasses

import pytest

from metamcp.runtime.command.launch import Confinement
from metamcp.runtime.diagnosis.relaxing import relaxing

CONFINED = Confinement("ghcr.io/example/*", True, "none", 64, 128 << 20)
FREE = Confinement("*", False, "", 64, 128 << 20)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("OSError: [Errno 30] Read-only file system: '/app/cache'", '"writable": true'),
        ("Error: EROFS: read-only file system, open '/app/x'", '"writable": true'),
        ("mkdir: can't create directory '/x': Read-only file system", '"writable": true'),
        ("OSError: [Errno 28] No space left on device", "--tmpfs=/tmp:size=256m"),
        ("Error: ENOSPC: no space left on device, write", "--tmpfs=/tmp:size=256m"),
        ("RuntimeError: can't start new thread", "64 processes and threads at once: raise limits.pids"),
        ("sh: can't fork: Resource temporarily unavailable", "limits.pids"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "limits.pids"),
        ("Error: spawn /usr/bin/node EAGAIN", "limits.pids"),
        ("runtime: failed to create new OS thread: pthread_create failed: EAGAIN", "limits.pids"),
        ("java.lang.OutOfMemoryError: unable to create native thread", "limits.pids"),
        ("MemoryError", "128 MiB of memory: raise limits.memory"),
        ("OSError: [Errno 12] Cannot allocate memory", "limits.memory"),
        ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "limits.memory"),
        ("OSError: [Errno 24] Too many open files", "--ulimit=nofile"),
        ("chown: changing ownership of '/data': Operation not permitted", '"capAdd": ["CHOWN"]'),
        ("PermissionError: [Errno 1] Operation not permitted: os.setgroups", '"user" of the server'),
        ("error: failed switching to 'redis': setgroups: operation not permitted", '"SETUID", "SETGID"'),
        ("ping: permission denied (are you root?)", '"--cap-add=NET_RAW"'),
        ("nginx: bind() to 0.0.0.0:80 failed (13: Permission denied)", '"--cap-add=NET_BIND_SERVICE"'),
        ("Failed to move to new namespace: clone() failed: Operation not permitted", "--no-sandbox"),
        ("No usable sandbox! Update your kernel", "--no-sandbox"),
        ("mount: /mnt: Operation not permitted.", "it has no capability"),
        ("PermissionError: [Errno 13] Permission denied: '/data/x'", '"capAdd": ["DAC_OVERRIDE"]'),
        ("Error: EACCES: permission denied, open '/data/x'", '"user" of the server'),
        ("mktemp: cannot create temp file", "TMPDIR=/tmp"),
        ("FileNotFoundError: No usable temporary directory found", "TMPDIR=/tmp"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", '"network": "egress"'),
        ("connect: Network is unreachable", '"network": "egress"'),
        ("Error: getaddrinfo EAI_AGAIN api.example.com", '"network": "egress"'),
        ("dial tcp: lookup api.example.com: no such host", '"network": "egress"'),
        ("wget: bad address 'example.com'", '"network": "egress"'),
    ],
)
def test_last_words_name_the_key_that_relaxes_it(said: str, key: str) -> None:
    found = relaxing(CONFINED, ("Traceback (most recent call last):", said, "  at somewhere"), 1)
    assert key in found
    assert not found.endswith(".") and "\n" not in found


def test_rule_of_the_image_is_named() -> None:
    assert "the rule 'ghcr.io/example/*' in allowlist.json" in relaxing(CONFINED, ("Read-only file system",))


@pytest.mark.parametrize(
    "said",
    ["Read-only file system", "No space left on device", "Temporary failure in name resolution",
     "mktemp: cannot create temp file"],
)  # fmt: skip
def test_what_is_not_confined_is_not_blamed(said: str) -> None:
    assert relaxing(FREE, (said,), 1) == ""


def test_internal_network_is_told_by_its_name() -> None:
    internal = dataclasses.replace(CONFINED, network="internal")
    assert "is 'internal'" in relaxing(internal, ("getaddrinfo ENOTFOUND x",))


@pytest.mark.parametrize("said", [(), ("giving up",), ("KeyError: 'TOKEN'",), ("",)])
def test_own_faults_of_a_server_get_no_advice(said: tuple[str, ...]) -> None:
    assert relaxing(CONFINED, said, 1) == ""


def test_the_last_line_that_tells_something_counts() -> None:
    assert "limits.pids" in relaxing(CONFINED, ("Read-only file system", "can't start new thread", "giving up"), 1)


def test_end_by_seccomp_is_told_as_one_that_no_key_opens() -> None:
    assert "seccomp" in relaxing(FREE, (), 159)


def test_a_brace_in_the_pattern_or_the_words_does_no_harm() -> None:
    odd = dataclasses.replace(CONFINED, rule="x/{y}*")
    assert "{y}" in relaxing(odd, ("{0}: Read-only file system {rule}",))
