"""Every default of the policy, looked at in a running container from both sides, and what a server is told when one
of them stops it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from containers import child_of_session, container_server
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway

from metamcp.runtime.policy.network import INTERNAL

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


def running(engine: Engine, code: str, *flags: str, **keys: Any) -> dict[str, Any]:
    """A server that is ``code``."""
    args = ["run", "-i", *flags, engine.image, "-c", code]
    return {"command": "docker", "args": args, "network": "none", "era": "legacy", "idleSeconds": 1, **keys}


def looking(engine: Engine, *flags: str, **keys: Any) -> dict[str, Any]:
    return running(engine, LOOK, *flags, **keys)


GREEDY = (
    "--memory=8g", "--memory-swap=-1", "--cpus=64", "--pids-limit=-1", "--ulimit=core=-1", "--ulimit=nofile=5000",
    "--read-only=false", "--init=false", "--log-driver=json-file", "--tmpfs=/tmp:size=4g", "--rm=false",
)  # fmt: skip
LIMITS = {"memory": "96m", "cpus": 0.5, "pids": 40}
RULED, RELAXED = "metamcp-test:ruled", "metamcp-test:relaxed"
"""The image under other names, which have rules of their own."""

DIES = LOOK.replace(
    'else:\n        result = {"content"',
    'else:\n        if message.get("method") == "tools/call": open("/data", "w")\n        result = {"content"',
)
# What stops a server, and the key that relaxes it.
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


@pytest.fixture(scope="module")
def gateway(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway with a server for each test; a container is gone soon after its test."""
    for name in (RULED, RELAXED):
        engine.docker("tag", engine.image, name)
    servers = {
        "confined": looking(engine, network="egress", limits=LIMITS),
        "greedy": looking(engine, *GREEDY, limits=LIMITS),
        "user": looking(engine, user="4711:4712"),
        "root": looking(engine, "--user=0"),
        "ruled": looking(replace(engine, image=RULED), "--user=0", user="4711"),
        "relaxed": container_server(replace(engine, image=RELAXED), "good", user="0", idleSeconds=1),
        "dies": running(engine, DIES),
    }
    servers |= {network: looking(engine, network=network) for network in ("none", "internal", "egress")}
    servers |= {what: running(engine, code, **keys) for what, (code, keys, _) in STOPPED.items()}
    rules = [{"image": RULED, "user": "1234"}, {"image": RELAXED, "allow": {"writable": True}}]
    folder = tmp_path_factory.mktemp("hardening")
    networks = engine.docker("network", "ls", "--format={{.Name}}").split()
    try:
        with running_gateway(folder, servers, images=[engine.image, *rules], env=engine.env, ready=False) as gateway:
            yield gateway
    finally:
        engine.docker("rmi", RULED, RELAXED)
        if INTERNAL not in networks:
            engine.docker("network", "rm", INTERNAL)


def looked(engine: Engine, gateway: GatewayProcess, server: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the server saw, and what ``docker inspect`` says about its container while it runs."""
    session = gateway.open_session()
    seen = json.loads(gateway.text(session, f"{server}__look"))
    return seen, inspected(engine, gateway, session)


def inspected(engine: Engine, gateway: GatewayProcess, session: str) -> dict[str, Any]:
    (facts,) = json.loads(engine.docker("inspect", child_of_session(gateway, session)["containerId"]))
    return dict(facts)


def flags_of(seen: Mapping[str, Any], place: str) -> set[str]:
    """Of the last mount at ``place``: the one that is seen."""
    return [set(options.split(",")) for target, _, options in seen["mounts"] if target == place][-1]


def test_running_container_is_confined_from_both_sides(engine: Engine, gateway: GatewayProcess) -> None:
    seen, facts = looked(engine, gateway, "confined")
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


def test_what_the_arguments_ask_for_beyond_the_limits_is_not_given(engine: Engine, gateway: GatewayProcess) -> None:
    seen, facts = looked(engine, gateway, "greedy")
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
    [("none", "none", ["lo"], False), ("internal", INTERNAL, ["eth0", "lo"], True),
     ("egress", "", ["eth0", "lo"], True)],
)  # fmt: skip
def test_network_is_the_configured_one(
    engine: Engine, gateway: GatewayProcess, network: str, mode: str, interfaces: list[str], knows_host: bool
) -> None:
    seen, facts = looked(engine, gateway, network)
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


def test_user_of_the_server_and_of_the_rule_is_who_it_is_in_there(engine: Engine, gateway: GatewayProcess) -> None:
    seen, facts = looked(engine, gateway, "user")
    assert seen["ids"][:2] == [4711, 4712]
    assert facts["Config"]["User"] == "4711:4712"
    assert looked(engine, gateway, "ruled")[0]["ids"][0] == 1234


def test_root_of_an_image_has_no_capability(engine: Engine, gateway: GatewayProcess) -> None:
    seen, _ = looked(engine, gateway, "root")
    assert seen["ids"][:2] == [0, 0]
    assert int(seen["status"]["CapEff"], 16) == int(seen["status"]["CapBnd"], 16) == 0


@pytest.mark.parametrize("what", list(STOPPED))
def test_hardening_that_ends_a_server_is_told_with_the_key_that_relaxes_it(gateway: GatewayProcess, what: str) -> None:
    _, _, key = STOPPED[what]
    error = gateway.call(gateway.open_session(), f"{what}__x", {})["error"]
    assert key in error["message"], error
    eventually(lambda: key in str(server_of(gateway, what)["reason"]), "the reason is in the status")


def server_of(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    (found,) = (server for server in gateway.status()["servers"] if server["name"] == name)
    return dict(found)


def test_death_during_a_call_is_told_with_it_too(gateway: GatewayProcess) -> None:
    assert DIES != LOOK
    error = gateway.call(gateway.open_session(), "dies__look", {})["error"]
    assert error["code"] == -31004
    assert '"writable": true' in error["message"] and '"writable": true' in error["data"]["advice"]
    eventually(lambda: bool(server_of(gateway, "dies")["lastExit"]), "the exit is in the status")
    assert '"writable": true' in server_of(gateway, "dies")["lastExit"]["advice"]


def test_relaxed_as_told_the_server_works(engine: Engine, gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    assert gateway.text(session, "relaxed__echo", {"text": "x"}) == "x"
    assert not inspected(engine, gateway, session)["HostConfig"]["ReadonlyRootfs"]
