"""Every default of the policy, looked at in a running container from both sides, and what a server is told when one
of them stops it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from containers import child_of_session, container_server
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway

MIB = 1 << 20

# Prints what the kernel says about the container as the answer to ``initialize``, and stays until its input ends.
LOOK = """
import json, os, resource, sys
def read(path):
    try:
        return open(path).read()
    except OSError as error:
        return f"errno {error.errno}"
def attempt(act):
    try:
        act()
        return 0
    except OSError as error:
        return error.errno
def write(path):
    with open(path, "w") as file:
        file.write("x")
seen = {
    "status": dict(line.split(":\\t", 1) for line in read("/proc/self/status").splitlines() if ":\\t" in line),
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "mounts": [line.split()[1:4] for line in read("/proc/self/mounts").splitlines()],
    "core": resource.getrlimit(resource.RLIMIT_CORE), "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "root": attempt(lambda: write("/written")), "tmp": attempt(lambda: write("/tmp/written")),
    "tmpBytes": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
    "memory": read("/sys/fs/cgroup/memory.max") + read("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "pids": read("/sys/fs/cgroup/pids.max") + read("/sys/fs/cgroup/pids/pids.max"),
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "routes": read("/proc/net/route").splitlines()[1:],
    "hosts": read("/etc/hosts"),
    "devices": sorted(os.listdir("/dev")),
    "init": read("/proc/1/cmdline").split("\\0")[0],
}
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        info = {"name": "x", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    elif message.get("method") == "tools/list":
        result = {"tools": [{"name": "look", "inputSchema": {"type": "object"}}]}
    else:
        result = {"content": [{"type": "text", "text": json.dumps(seen)}]}
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def looking(engine: Engine, *flags: str, **keys: Any) -> dict[str, Any]:
    return {"command": "docker", "args": ["run", "-i", *flags, engine.image, "-c", LOOK], "era": "legacy", **keys}


@contextmanager
def looked(
    engine: Engine, folder: Path, server: Mapping[str, Any], images: list[Any] | None = None
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What the server saw, and what ``docker inspect`` says about its container while it runs."""
    with running_gateway(folder, {"s": server}, images=images or [engine.image], env=engine.env) as gateway:
        seen = json.loads(gateway.text(gateway.open_session(), "s__look"))
        child = child_of_session(gateway)
        yield seen, json.loads(engine.docker("inspect", child["containerId"]))[0]


def flags_of(seen: Mapping[str, Any], place: str) -> set[str]:
    """Of the last mount at ``place``: the one that is seen."""
    return [set(options.split(",")) for target, _, options in seen["mounts"] if target == place][-1]


def test_running_container_is_confined_from_both_sides(engine: Engine, tmp_path: Path) -> None:
    limits = {"memory": "96m", "cpus": 0.5, "pids": 40}
    with looked(engine, tmp_path, looking(engine, limits=limits)) as (seen, facts):
        host = facts["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == 96 * MIB
        assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 40)
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["ReadonlyRootfs"] and host["Init"] and host["AutoRemove"]
        assert host["Tmpfs"] == {"/tmp": f"size={64 * MIB}"}
        assert host["LogConfig"]["Type"] == "none"
        assert {item["Name"]: (item["Soft"], item["Hard"]) for item in host["Ulimits"]} == {
            "core": (0, 0), "nofile": (4096, 4096),
        }  # fmt: skip
        assert not host["Binds"] and not host["Devices"] and not host["PortBindings"] and not host["GroupAdd"]
        assert host["PidMode"] == host["UTSMode"] == host["UsernsMode"] == ""
        assert host["IpcMode"] == "private"
        assert host["MaskedPaths"] and host["ReadonlyPaths"]
        assert facts["Config"]["Healthcheck"] == {"Test": ["NONE"]}
        # From inside: what the kernel does, whatever the engine says.
        status = seen["status"]
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert seen["core"] == [0, 0] and seen["nofile"] == [4096, 4096]
        assert (seen["root"], seen["tmp"]) == (30, 0)  # EROFS
        assert "ro" in flags_of(seen, "/")
        assert {"nosuid", "nodev", "noexec"} <= flags_of(seen, "/tmp")
        assert seen["tmpBytes"] == 64 * MIB
        assert str(96 * MIB) in seen["memory"]
        assert "40" in seen["pids"]
        assert seen["ids"][:2] == [65532, 65532]
        assert not {"sda", "mem", "kmsg"} & set(seen["devices"])
        assert seen["init"].endswith(("docker-init", "tini"))
        assert "host.docker.internal" in seen["hosts"]


def test_what_the_arguments_ask_for_beyond_the_limits_is_not_given(engine: Engine, tmp_path: Path) -> None:
    greedy = (
        "--memory=8g", "--memory-swap=-1", "--cpus=64", "--pids-limit=-1", "--ulimit=core=-1", "--ulimit=nofile=5000",
        "--read-only=false", "--init=false", "--log-driver=json-file", "--tmpfs=/tmp:size=4g", "--rm=false",
    )  # fmt: skip
    server = looking(engine, *greedy, limits={"memory": "96m", "cpus": 0.5, "pids": 40})
    with looked(engine, tmp_path, server) as (seen, facts):
        host = facts["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == 96 * MIB
        assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 40)
        assert host["ReadonlyRootfs"] and host["Init"] and host["AutoRemove"]
        assert host["LogConfig"]["Type"] == "none"
        assert seen["core"] == [0, 0] and seen["nofile"] == [5000, 5000]
        assert seen["tmpBytes"] == 96 * MIB
        assert seen["root"] == 30


@pytest.mark.parametrize(
    ("network", "mode", "interfaces", "knows_host"),
    [("none", "none", ["lo"], False), ("internal", "metamcp-internal", ["eth0", "lo"], True),
     ("egress", "", ["eth0", "lo"], True)],
)  # fmt: skip
def test_network_is_the_configured_one(
    engine: Engine, tmp_path: Path, network: str, mode: str, interfaces: list[str], knows_host: bool
) -> None:
    with looked(engine, tmp_path, looking(engine, network=network)) as (seen, facts):
        found = facts["HostConfig"]["NetworkMode"]
        assert found == mode or (not mode and found in ("default", "bridge"))
        assert set(interfaces) <= set(seen["interfaces"])
        assert ("eth0" in seen["interfaces"]) == ("eth0" in interfaces)
        ways_out = [line for line in seen["routes"] if line.split()[1] == "00000000"]
        if network == "internal":  # engines before 23 leave a route there, which leads into their packet filter
            assert json.loads(engine.docker("network", "inspect", mode))[0]["Internal"] is True
        else:
            assert bool(ways_out) == (network == "egress")
        assert ("host.docker.internal" in seen["hosts"]) == knows_host


def test_user_of_the_server_and_of_the_rule_is_who_it_is_in_there(engine: Engine, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    with looked(engine, tmp_path / "a", looking(engine, user="4711:4712")) as (seen, facts):
        assert seen["ids"][:2] == [4711, 4712]
        assert facts["Config"]["User"] == "4711:4712"
    rule = {"image": engine.image, "user": "1234"}
    with looked(engine, tmp_path / "b", looking(engine, "--user=0", user="4711"), [rule]) as (seen, _):
        assert seen["ids"][0] == 1234


def test_root_of_an_image_has_no_capability(engine: Engine, tmp_path: Path) -> None:
    with looked(engine, tmp_path, looking(engine, "--user=0")) as (seen, _):
        assert seen["ids"][:2] == [0, 0]
        assert int(seen["status"]["CapEff"], 16) == int(seen["status"]["CapBnd"], 16) == 0


# --- what stops a server is told with the key that relaxes it ------------------------------------------------

STOPPED: dict[str, tuple[str, dict[str, Any], str]] = {
    "EROFS": ("open('/app-cache', 'w')", {}, '"allow": {"writable": true}'),
    "EPERM": ("import os; os.setgroups([1])", {}, "capability"),
    "pids": (
        "import threading, time\n"
        "for _ in range(99): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        {"limits": {"pids": 12}}, "limits.pids",
    ),
    "tmpfs": (
        "with open('/tmp/x', 'wb', 0) as file:\n while True: file.write(bytes(1 << 20))", {}, "--tmpfs=/tmp:size=256m",
    ),
    "network": (
        "import socket; socket.create_connection(('192.0.2.1', 80), 3)", {"network": "none"}, '"network": "egress"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(STOPPED))
def test_hardening_that_ends_a_server_is_told_with_the_key_that_relaxes_it(
    engine: Engine, tmp_path: Path, what: str
) -> None:
    code, keys, key = STOPPED[what]
    server = {"command": "docker", "args": ["run", "-i", engine.image, "-c", code], "era": "legacy", **keys}
    with running_gateway(tmp_path, {"s": server}, images=[engine.image], env=engine.env, ready=False) as gateway:
        error = gateway.call(gateway.open_session(), "s__x", {})["error"]
        assert key in error["message"], error
        assert key in reason_of(gateway)


def reason_of(gateway: GatewayProcess) -> str:
    def told() -> str:
        return str(gateway.status()["servers"][0]["reason"])

    eventually(lambda: bool(told()), "the reason is in the status")
    return told()


def test_death_during_a_call_is_told_with_it_too(engine: Engine, tmp_path: Path) -> None:
    code = LOOK.replace(
        'else:\n        result = {"content"',
        'else:\n        if message.get("method") == "tools/call": open("/data", "w")\n        result = {"content"',
    )
    assert code != LOOK
    server = {"command": "docker", "args": ["run", "-i", engine.image, "-c", code], "era": "legacy"}
    with running_gateway(tmp_path, {"s": server}, images=[engine.image], env=engine.env) as gateway:
        error = gateway.call(gateway.open_session(), "s__look", {})["error"]
        assert error["code"] == -31004
        assert '"writable": true' in error["message"] and '"writable": true' in error["data"]["advice"]
        eventually(lambda: bool(gateway.status()["servers"][0]["lastExit"]), "the exit is in the status")
        assert '"writable": true' in gateway.status()["servers"][0]["lastExit"]["advice"]


def test_relaxed_as_told_the_server_works(engine: Engine, tmp_path: Path) -> None:
    rule = {"image": engine.image, "allow": {"writable": True}}
    server = container_server(engine, "good", user="0")
    with running_gateway(tmp_path, {"s": server}, images=[rule], env=engine.env) as gateway:
        session = gateway.open_session()
        assert gateway.text(session, "s__echo", {"text": "x"}) == "x"
        facts = json.loads(engine.docker("inspect", child_of_session(gateway)["containerId"]))[0]
        assert not facts["HostConfig"]["ReadonlyRootfs"]
