"""The checks of /docker-test/* and of ``doctor`` against a real engine and the real docker command line."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from diagnosis import checked, failing, skipped
from registry import registry

from metamcp.config.model import Allowance, Allowlist, GatewayConfig, ImageRule, Limits, ServerSpec
from metamcp.factory import diagnosing
from metamcp.runtime.diagnosis.checks.images import NoImageError, ServerImage
from metamcp.runtime.diagnosis.diagnostics import Check, accessible, report
from metamcp.runtime.diagnosis.overview import info
from metamcp.runtime.diagnosis.own_container import own_container
from metamcp.runtime.diagnosis.probe import Means
from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import INSTANCE, Identity, container_labels, container_name
from metamcp.runtime.process.docker_api import DockerApi

pytestmark = pytest.mark.engine

ME = Identity("test-diagnostics", "now")
ALL = [
    "socket", "socket-permissions", "engine", "api-version", "docker-cli", "images-allowed", "images-present", "image",
    "round-trip", "limits", "removed", "orphans", "network-none", "network-egress", "network-internal", "host-name",
    "host-gateway", "proxy-buffering", "proxy-silence", "engine-silence",
]  # fmt: skip
WITHOUT_A_PROXY = {"images-allowed", "images-present", "proxy-buffering", "proxy-silence", "engine-silence"}
"""Skipped where no server is a container, and nothing stands between."""

# The docker command line without one of its flags.
LOSING_DOCKER = """
import os, sys
dropped, *args = sys.argv[1:]
os.execvp("docker", ["docker", *(word for word in args if word.partition("=")[0] != dropped)])
"""


@pytest.fixture(scope="module", autouse=True)
def networks_are_as_before(engine: Any) -> Iterator[None]:
    def known() -> set[str]:
        return set(engine.docker("network", "ls", "--format", "{{.Name}}").split())

    before = known()
    yield
    for name in known() - before:
        engine.docker("network", "rm", name)


@pytest.fixture
def asked(engine: Any) -> Iterator[Engine]:
    """The client under test; afterwards none of its containers may be left."""
    with Engine(engine.host) as client:
        yield client
        left = client.containers({INSTANCE: ME.instance})
        for item in left:
            client.remove(item.id)
        assert left == []


def run(asked: Engine, image: str = "", *names: str, **given: Any) -> dict[str, Check]:
    return checked(asked, ME, image, *names, **given)


def losing(tmp_path: Path, flag: str) -> tuple[str, ...]:
    script = tmp_path / "losing_docker.py"
    script.write_text(LOSING_DOCKER)
    return (sys.executable, str(script), flag)


def orphan(engine: Any, identity: Identity) -> str:
    labels = container_labels(identity, "git", "s", "f00d")
    given = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    argv = ["docker", "create", "--name", container_name("git", identity.generation), *given]
    done = subprocess.run(
        [*argv, engine.image, "-c", "0"], env=engine.env, capture_output=True, timeout=30, check=True
    )
    return done.stdout.decode().strip()


@contextmanager
def gateway_at(address: str, answer: bytes) -> Iterator[int]:
    """Somebody who answers one request after the other in the same words; the port."""
    with socket.create_server((address, 0)) as listening:
        script = (
            "import socket, sys\nlistening = socket.socket(fileno=int(sys.argv[1]))\n"
            "while True:\n  with listening.accept()[0] as it:\n"
            "    it.recv(65536) and it.sendall(sys.argv[2].encode())\n"
        )
        argv = [sys.executable, "-c", script, str(listening.fileno()), answer.decode()]
        with subprocess.Popen(argv, pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL) as server:
            try:
                yield listening.getsockname()[1]
            finally:
                server.kill()


OK = b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"status":"ok"}'


def bridge(engine: Any, network: str = "bridge") -> str:
    """The address of this machine in a network of the engine."""
    subnet = engine.docker("network", "inspect", network, "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return str(ipaddress.ip_network(subnet)[1])


# --- all is well -------------------------------------------------------------------------------------------


def test_good_engine_passes_every_check_and_keeps_no_container(asked: Engine, engine: Any) -> None:
    with gateway_at(bridge(engine), OK) as port:
        found = run(asked, engine.image, bind=f"{bridge(engine)}:{port}")
    assert list(found) == ALL
    bad = {name: (it.status, it.detail) for name, it in found.items() if it.status != "pass"}
    assert bad.keys() == WITHOUT_A_PROXY, bad
    assert report(list(found.values()))["ok"] is True
    assert "the kernel says so" in found["limits"].detail
    assert "a container of the default network" in found["network-internal"].detail
    assert found["image"].detail.startswith(engine.image)
    assert f"at host.docker.internal:{port}" in found["host-gateway"].detail


def test_gateway_on_loopback_is_no_failure_but_told(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, "host-gateway")
    assert found["host-name"].status == "pass"
    assert found["host-gateway"].status == "skip"
    assert "METAMCP_BIND=0.0.0.0:12009" in found["host-gateway"].detail


def test_a_runtime_without_a_command_line_passes_every_check_but_that_for_one(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, means=over_the_api(asked))
    assert failing(found) == set()
    assert skipped(found) == WITHOUT_A_PROXY | {"docker-cli", "host-gateway"}


def test_without_the_command_line_an_image_without_the_command_fails_the_same(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, "round-trip", means=over_the_api(asked), argv=("no-such-command",))
    assert failing(found) == {"round-trip"}
    assert "exit code 127" in found["round-trip"].detail


def over_the_api(asked: Engine) -> Means:
    return Means(DockerApi(asked, lambda _job: True), cli=())


# --- images ------------------------------------------------------------------------------------------------


def test_without_an_image_no_container_is_tried_and_that_is_said(asked: Engine) -> None:
    found = run(asked)
    assert failing(found) == {"image"}
    assert "METAMCP_TEST_IMAGE" in found["image"].hint
    assert {"round-trip", "limits", "network-none", "host-gateway"} <= skipped(found)


def test_image_that_nobody_has_fails_with_the_words_of_the_engine(asked: Engine) -> None:
    found = run(asked, "127.0.0.1:1/metamcp-nope:none", "round-trip")
    assert failing(found) == {"image"}
    assert "cannot be fetched" in found["image"].detail and "refused" in found["image"].detail
    assert "build or load" in found["image"].hint
    assert found["round-trip"].status == "skip"


def test_image_that_its_registry_has_is_fetched_and_another_one_is_not(asked: Engine, engine: Any) -> None:
    with registry(asked.version().arch) as reference:
        try:
            found = run(asked, reference, "image")
        finally:
            engine.docker("image", "rm", reference)
        assert found["image"].status == "pass", found["image"]
        assert "METAMCP_TEST_IMAGE, fetched now" in found["image"].detail
        found = run(asked, reference.replace("hello", "other"), "image")
    assert failing(found) == {"image"}
    assert "manifest" in found["image"].detail


@pytest.mark.parametrize("more", [[], ["--hostname", "gateway"]], ids=["as usual", "with a name of its own"])
def test_container_of_the_gateway_is_found_by_what_it_sees_of_itself(
    asked: Engine, engine: Any, tmp_path: Path, more: list[str]
) -> None:
    tell = (
        "import json, socket, sys\nread = lambda name: open('/proc/self/' + name).read()\n"
        "print(json.dumps([socket.gethostname(), read('mountinfo'), read('cgroup')]), flush=True)\nsys.stdin.read()"
    )
    argv = ["docker", "run", "-i", "--rm", "--network", "none", *more, engine.image, "-c", tell]
    with subprocess.Popen(argv, env=engine.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        name, mounts, cgroup = json.loads(child.stdout.readline())
        (tmp_path / "mountinfo").write_text(mounts)
        (tmp_path / "cgroup").write_text(cgroup)
        found = own_container(asked, lambda: name, tmp_path)
        child.stdin.close()
        assert child.wait(30) == 0
    image = asked.image(engine.image)
    assert found is not None and image is not None and found["Image"] == image.id
    assert own_container(asked, lambda: name, tmp_path) is None  # it is gone


def test_images_of_servers_are_looked_for_on_the_engine(asked: Engine, engine: Any) -> None:
    here, gone = ServerImage("here", engine.image), ServerImage("gone", "docker.io/library/metamcp-nope:none")
    found = run(asked, "", "images-allowed", "images-present", servers=[here, gone])
    assert failing(found) == {"images-present"}
    assert "gone:" in found["images-present"].detail and "here:" not in found["images-present"].detail
    assert "docker pull docker.io/library/metamcp-nope:none" in found["images-present"].hint
    refused = ServerImage("bad", "evil:1", "images[0] does not match")
    found = run(asked, "", "images-allowed", "images-present", servers=[here, refused])
    assert failing(found) == {"images-allowed"}
    assert "bad: images[0]" in found["images-allowed"].detail and "explain" in found["images-allowed"].hint


def test_image_is_made_of_this_machines_python_where_there_is_none(
    asked: Engine, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosing, "DEMO_IMAGE", "metamcp-test-made:local")
    try:
        found = run(asked, "", "image", choose=lambda seconds: diagnosing.choose(asked, seconds))
        assert diagnosing.choose(asked, 0.0) == ("metamcp-test-made:local", "of the demo servers")
    finally:
        engine.docker("image", "rm", "metamcp-test-made:local")
    assert "made of this machine's Python" in found["image"].detail


def test_chosen_image_that_cannot_be_made_says_why(asked: Engine) -> None:
    def choose(_seconds: float) -> tuple[str, str]:
        raise NoImageError("no space left on device")

    found = run(asked, "", "image", choose=choose)
    assert "no space left" in found["image"].detail


# --- one container -----------------------------------------------------------------------------------------


def test_image_without_the_command_fails_the_round_trip(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, "round-trip", argv=("no-such-command",))
    assert failing(found) == {"round-trip"}
    assert "exit code 127" in found["round-trip"].detail
    assert "--entrypoint" in found["round-trip"].hint


def test_command_that_does_not_echo_fails_within_the_deadline(asked: Engine, engine: Any) -> None:
    silent = ("python3", "-I", "-S", "-c", "import time; time.sleep(600)")
    found = run(asked, engine.image, "round-trip", argv=silent, seconds=5.0)
    assert "timed out" in found["round-trip"].detail
    assert found["round-trip"].seconds < 5.0 + 10.0


def test_command_that_ends_at_once_fails_with_its_exit_code(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, "round-trip", argv=("python3", "-I", "-S", "-c", "raise SystemExit(3)"))
    assert "exit code 3" in found["round-trip"].detail


def test_another_program_that_echoes_is_judged_by_what_the_engine_believes(asked: Engine, engine: Any) -> None:
    echo = ("python3", "-I", "-S", "-c", "import sys\nfor line in sys.stdin: print(line, end='', flush=True)")
    found = run(asked, engine.image, "limits", "network-none", argv=echo)
    assert "the engine says so" in found["limits"].detail
    assert found["network-none"].status == "skip"


@pytest.mark.parametrize(
    ("flag", "check", "said"),
    [
        ("--rm", "removed", "still there"),
        ("--pids-limit", "limits", "pids is unlimited"),
        ("--cap-drop", "limits", "--cap-drop ALL is not set"),
        ("--network", "network-none", "a route out"),
    ],
)
def test_flag_that_does_not_arrive_is_noticed(
    asked: Engine, engine: Any, tmp_path: Path, flag: str, check: str, said: str
) -> None:
    found = run(asked, engine.image, "removed", "limits", "network-none", cli=losing(tmp_path, flag))
    assert failing(found) == {check}
    assert said in found[check].detail and found[check].hint


def test_limit_beyond_the_machine_is_explained(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, "round-trip", limits=Limits(cpus=100_000.0))
    assert failing(found) == {"round-trip"}
    assert "change the server's limits" in found["round-trip"].hint


def test_orphan_of_this_instance_is_found_and_a_neighbours_is_not(asked: Engine, engine: Any) -> None:
    dead = orphan(engine, Identity(ME.instance, "before"))
    other = orphan(engine, Identity("test-diagnostics-neighbour", "before-us"))
    try:
        found = run(asked, "", "orphans")
    finally:
        asked.remove(dead)
        asked.remove(other)
    assert failing(found) == {"orphans"}
    assert found["orphans"].detail.startswith("1 container")
    assert container_name("git", "before") in found["orphans"].hint


# --- networks ----------------------------------------------------------------------------------------------


def test_name_of_the_host_that_does_not_arrive_is_noticed(asked: Engine, engine: Any, tmp_path: Path) -> None:
    found = run(asked, engine.image, "host-name", "host-gateway", cli=losing(tmp_path, "--add-host"))
    assert failing(found) == {"host-name"}
    assert "not resolved" in found["host-name"].detail and "host-gateway" in found["host-name"].hint
    assert found["host-gateway"].status == "skip"


def test_name_of_the_host_is_no_matter_where_servers_are_not_told_it(asked: Engine, engine: Any) -> None:
    found = run(asked, engine.image, "host-name", named=False)
    assert found["host-name"].status == "skip"
    assert "TRANSFORM_LOCALHOST" in found["host-name"].detail


@pytest.fixture
def other_bridge(engine: Any) -> Iterator[str]:
    """An address of this machine that is not what containers know as their host."""
    engine.docker("network", "create", "metamcp-test-bridge")
    yield bridge(engine, "metamcp-test-bridge")
    engine.docker("network", "rm", "metamcp-test-bridge")


def test_gateway_at_another_address_of_the_host_is_not_reached(asked: Engine, engine: Any, other_bridge: str) -> None:
    with gateway_at(other_bridge, OK) as port:
        found = run(asked, engine.image, "host-gateway", bind=f"{other_bridge}:{port}")
    assert failing(found) == {"host-gateway"}
    assert "ECONNREFUSED" in found["host-gateway"].detail
    assert f"METAMCP_BIND=0.0.0.0:{port}" in found["host-gateway"].hint


def test_somebody_else_at_the_gateways_port_is_not_taken_for_it(asked: Engine, engine: Any) -> None:
    refusal = b"HTTP/1.1 421 Misdirected Request\r\nConnection: close\r\n\r\n{}"
    with gateway_at(bridge(engine), refusal) as port:
        found = run(asked, engine.image, "host-gateway", bind=f"{bridge(engine)}:{port}")
    assert failing(found) == {"host-gateway"}
    assert "421" in found["host-gateway"].detail and "METAMCP_ALLOWED_HOSTS" in found["host-gateway"].hint


def test_container_that_does_not_join_the_internal_network_is_noticed(
    asked: Engine, engine: Any, tmp_path: Path
) -> None:
    """The command line loses --network, so the container of the internal network is on the default one."""
    found = run(asked, engine.image, "network-internal", cli=losing(tmp_path, "--network"))
    assert failing(found) == {"network-internal"}
    assert "which is outside" in found["network-internal"].detail and "iptables" in found["network-internal"].hint


# --- the other pages ---------------------------------------------------------------------------------------


def test_engine_is_accessible_with_its_version(engine: Any) -> None:
    found = accessible(Engine, engine.host)
    assert found["accessible"] is True
    assert found["engine"]["os"] == "linux"
    assert set(found["engine"]) == {"version", "apiVersion", "os", "arch"}


def test_stopped_engine_is_not_accessible(tmp_path: Path) -> None:
    assert accessible(Engine, f"unix://{tmp_path}/docker.sock")["accessible"] is False


def test_info_shows_engine_policy_images_and_containers(asked: Engine, engine: Any) -> None:
    config = GatewayConfig(
        servers={
            "here": ServerSpec("here", command="docker", args=(engine.image,)),
            "gone": ServerSpec("gone", command="docker", args=("metamcp-nope:none",), network="none"),
            "odd": ServerSpec("odd", transport="sse", url="http://127.0.0.1:1/sse"),
        },
        namespaces={},
        endpoints={},
    )
    allowlist = Allowlist((ImageRule("demo/*", allow=Allowance(gpus=True)), ImageRule("*")), ("/srv/data",))
    mine = orphan(engine, ME)
    try:
        found = info(asked, config, allowlist, ME, "docker", lambda spec: spec.args[0] if spec.args else None)
    finally:
        asked.remove(mine)
    assert json.loads(json.dumps(found)) == found
    assert found["engine"]["storageDriver"]
    assert found["runtime"] == "docker"
    assert set(found["limitsSupported"]) == {"memory", "swap", "cpu", "pids"}
    assert [(item["server"], item["present"]) for item in found["images"]] == [
        ("here", True),
        ("gone", False),
        ("odd", False),
    ]
    assert found["images"][0]["id"].startswith("sha256:")
    assert found["policy"]["images"][0]["differs"] == {"gpus": True}
    assert found["policy"]["images"][1]["differs"] == {}
    assert found["policy"]["bindRoots"] == ["/srv/data"]
    assert found["policy"]["servers"]["gone"]["network"] == "none"
    assert [(item["id"], item["current"]) for item in found["containers"]] == [(mine[:12], True)]
