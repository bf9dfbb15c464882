"""The two renderings of a decision mean the same: the installed docker CLI is asked what it makes of the argv."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from examples import share
from fake_engine import FakeEngine, fake_engine
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.model import Allowance, ImageRule, Limits, ServerSpec
from metamcp.errors import RefusedByPolicy
from metamcp.runtime.command.create_request import RENDERED, CreateRequest, create_request, pulls
from metamcp.runtime.command.create_values import InvalidValueError
from metamcp.runtime.command.grammar import parse
from metamcp.runtime.command.launch import LaunchPlan, plan
from metamcp.runtime.policy import check
from metamcp.runtime.policy.decide import decide

WIDE = Allowance(
    network=True, cap_add=("SYS_ADMIN", "NET_RAW"), shm_size=1 << 30, gpus=True, ports=True, writable=True,
    devices=("/dev/null", "/dev/zero:/dev/x:r", "/dev/full:w", "/dev/bad:zz"),
)  # fmt: skip
NAMED = frozenset({"ExposedPorts", "Volumes", "EndpointsConfig", "PortBindings", "Labels", "Tmpfs"})
"""Objects whose keys say something, whatever their values."""

UNORDERED = frozenset({"Env", "Binds", "Ulimits", "CapAdd"})
DEFAULTS: Mapping[str, Any] = {
    "RestartPolicy": {"Name": "no"}, "MemorySwappiness": -1, "ConsoleSize": [0, 0], "NetworkMode": "default",
}  # fmt: skip


def planned(
    options: Sequence[str], env: Mapping[str, str] | None = None, allow: Allowance = WIDE, network: str = "egress",
    command: Sequence[str] = (),
) -> LaunchPlan:  # fmt: skip
    """What the gateway makes of ``docker run OPTIONS image:1 COMMAND``. Raises RefusedByPolicy."""
    args = ("run", *options, "image:1", *command)
    spec = ServerSpec("s", args=args, env=env or {}, network=network, limits=Limits(1 << 28, 0.5, 64))
    decision = decide(
        parse("docker", args), spec, ImageRule("*", allow=allow),
        bind_roots=("/srv",), realpath=str, host_gateway=True,
    )  # fmt: skip
    return plan(
        spec, decision, env or {}, labels={"metamcp.server": "s", "metamcp.session": ""}, container_name="metamcp-s-1",
        engine_env={"PATH": "/bin"}, secret_values=(),
    )  # fmt: skip


def meaning(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says the same as saying nothing."""
    found = {key: _member(key, value) for key, value in body.items()}
    return {key: value for key, value in found.items() if value not in (None, "", 0, False, [], {}, DEFAULTS.get(key))}


def _member(key: str, value: Any) -> Any:
    if key in NAMED and isinstance(value, dict):
        named = {name: _inner(item) for name, item in value.items()}
        return {name: item for name, item in named.items() if key != "EndpointsConfig" or item or name != "default"}
    if key in UNORDERED and isinstance(value, list):
        return sorted((_inner(item) for item in value), key=json.dumps)
    return _inner(value)


def _inner(value: Any) -> Any:
    if isinstance(value, list):
        return [_inner(item) for item in value]
    return meaning(value) if isinstance(value, dict) else value


def of_cli(engine: FakeEngine, launch: LaunchPlan) -> tuple[dict[str, str], dict[str, Any]] | None:
    """(query, meaning) of what the CLI asks for; None: it refuses by itself."""
    asked = engine.asked_by(list(launch.argv), launch.env)
    if not asked:
        return None
    ((path, body),) = asked
    assert urlsplit(path).path.endswith("/containers/create")
    return dict(parse_qsl(urlsplit(path).query)), meaning(json.loads(body))


def of_ours(launch: LaunchPlan) -> tuple[dict[str, str], dict[str, Any]] | None:
    assert launch.run is not None
    try:
        request = create_request(launch.run, launch.env)
    except InvalidValueError:
        return None
    return dict(request.query), meaning(request.body)


def shown(asked: tuple[dict[str, str], dict[str, Any]] | None) -> list[str]:
    """One line for each member, so that a difference can be read."""
    return json.dumps(asked, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command to compare with")
    with fake_engine("1.45") as fake:
        yield fake


def both(engine: FakeEngine, launch: LaunchPlan) -> dict[str, Any]:
    asked, ours = of_cli(engine, launch), of_ours(launch)
    assert shown(ours) == shown(asked), f"{launch.argv}: {engine.said}"
    assert ours is not None
    return ours[1]


# --- the fixtures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["-i"],
        ["-e", "A=b", "-e", "EMPTY=", "-e", "PATH=/x", "--env=B=c=d", "--env=A=last"],
        ["--network=none"],
        ["--network=bridge", "--hostname=h", "--domainname=d", "-w", "/w", "-u", "1:2", "--stop-signal=SIGINT"],
        ["--network=mine", "--network=other", "--network-alias=a", "--network-alias=b"],
        ["--network=mine", "--ip=10.0.0", "--ip6=FD00::0009", "--link-local-ip=169.254.1.2"],
        ["--add-host=a:1.2.3.4", "--add-host=b=[::1]", "--add-host=c:::2", "--add-host=host.docker.internal:9.9.9.9"],
        ["--dns=1.1.1.1", "--dns=::0001", "--dns-option=ndots:2", "--dns-search=Example.COM.", "--dns-search=."],
        ["--entrypoint=", "--expose=80", "--expose=81-83/UDP", "--expose=5/icmp", "--group-add=44"],
        ["--cpuset-cpus=0-1", "--ipc=none"],
        ["--entrypoint=sh", "--cgroupns=private", "--shm-size=100m", "--ulimit=nofile=5:10", "--ulimit=cpu=-1"],
        ["--cap-add=sys_admin", "--cap-add=CAP_NET_RAW", "--device=/dev/null", "--device=/dev/zero:/dev/x:r"],
        ["--device=/dev/full:w", "--gpus=all", "--gpus=2"],
        ["--gpus", '"device=0,1",capabilities=compute', "--gpus", 'driver=nvidia,count=all,"options=a=b,c=d"'],
        ["-p", "8080:80", "-p", "127.0.0.1::81/udp", "-p", "90-91:92-93", "-p", "1000-1005:7", "-p", "[::1]:5:6", "-P"],
        ["-p", "target=80,published=8080", "-p", "published=5,target=6,protocol=udp", "-p", "80:80", "-p", "7/UDP"],
        ["-v", "/srv/a:/b:ro", "-v", "/c", "-v", "vol:/d:rw,nocopy", "-v", "/srv/a:/b:ro", "--tmpfs=/x:size=1m,noexec"],
        ["--mount", "type=bind,src=/srv/a,dst=/b,ro,consistency=Cached,bind-propagation=rprivate"],
        ["--mount", "type=volume,target=/v,volume-nocopy", "--mount", "source=xx,target=/q", "--read-only"],
        ["--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770", "--mount", "type=tmpfs,target=/tmp"],
        ["--platform=linux/amd64", "--quiet", "--pull=never", "--cpus=.123456789", "--memory=64m", "--pids-limit=9"],
    ],
)  # fmt: skip
def test_the_body_means_what_the_argv_means(engine: FakeEngine, options: list[str]) -> None:
    both(engine, planned(options, {"TOKEN": "a secret", "A_2": "x\ny"}, command=["serve", "", "--flag=é"]))


def test_a_hardened_server_without_any_option(engine: FakeEngine) -> None:
    body = both(engine, planned([], allow=Allowance(), network="none"))
    assert body["HostConfig"] == {
        "AutoRemove": True, "Init": True, "CapDrop": ["ALL"], "LogConfig": {"Type": "none"},
        "SecurityOpt": ["no-new-privileges"], "Memory": 1 << 28, "MemorySwap": 1 << 28, "NanoCpus": 500_000_000,
        "PidsLimit": 64, "Ulimits": [{"Name": "core"}, {"Hard": 4096, "Name": "nofile", "Soft": 4096}],
        "ReadonlyRootfs": True, "Tmpfs": {"/tmp": "size=67108864"}, "NetworkMode": "none",
    }  # fmt: skip
    assert body["OpenStdin"] and body["StdinOnce"] and body["AttachStdin"]


@pytest.mark.parametrize(
    "options",
    [
        ["--dns=nope"], ["--dns=fe80::1%eth0"], ["--add-host=x"], ["--add-host=x:y"], ["--dns-search=-x"],
        ["--dns-search=1.2"], ["--expose=a"], ["--expose=80:80"], ["--expose=9-8"], ["-p", "1/icmp"],
        ["--expose=70000"], ["-p", "x"], ["-p", "1-2:3-5"], ["-p", "nowhere:1:2"], ["-p", "a=b,c"], ["-p", "1:"],
        ["--ulimit=nofile=5:4"], ["--ulimit=cpu=-1:4"], ["--device=/dev/bad:zz"], ["--gpus=x"], ["--gpus=bad=1"],
        ["--gpus=count=1,count=2"], ["--mount", "type=tmpfs,target=/t,tmpfs-mode=9"], ["--expose=/udp"],
        ["--network=mine", "--network=bridge"],
    ],
)  # fmt: skip
def test_what_the_cli_refuses_itself_is_refused_here(engine: FakeEngine, options: list[str]) -> None:
    launch = planned(options)
    assert of_cli(engine, launch) is None, launch.argv
    assert of_ours(launch) is None


# --- whatever the policy accepts ---------------------------------------------------------------------------

_PORTS = ["80", "8080:80", "90-92", "90-92/udp", "1-2:3-4", "127.0.0.1:5:6", "::7", "5-9:7/tcp", "[::1]::3", "9-3", "x"]
_VALUES: Mapping[str, Sequence[str]] = {
    "add-host": ["a:1.2.3.4", "b=::1", "host.docker.internal:host-gateway", "c:host-gateway", "d:", ":1.1.1.1", "e:x"],
    "cap-add": ["SYS_ADMIN", "cap_net_raw"],
    "cgroupns": ["private"],
    "cpus": ["0.25", "2", ".5", "1."],
    "cpuset-cpus": ["0", "0-1"],
    "device": WIDE.devices,
    "dns": ["1.1.1.1", "::1", "2001:DB8::1", "1.1.1", ""],
    "dns-option": ["ndots:1", ""],
    "dns-search": ["a.b", "A-b.c.", ".", " x ", "a..b", "-"],
    "domainname": ["d", ""],
    "entrypoint": ["sh", ""],
    "env": ["A=1", "A=2", "B", "HOME=/h", "C="],
    "expose": [*_PORTS[:2], "90-92/sctp", "x"],
    "gpus": ["all", "1", "device=0", "capabilities=a", "driver=,count=-1", "", "options=a", '"'],
    "group-add": ["44", "me"],
    "hostname": ["h", ""],
    "ip": ["10.0.0.1", "x"],
    "ip6": ["fd00::1"],
    "ipc": ["private", "none"],
    "link-local-ip": ["169.254.0.9"],
    "memory": ["64m", "1.5k", "9g"],
    "mount": [
        "type=volume,target=/v", "type=bind,source=/srv/x,target=/w,readonly", "type=tmpfs,target=/t,tmpfs-mode=700",
        "type=bind,source=/srv/y,target=/w,bind-propagation=private", "source=aa,target=/b,volume-nocopy=true",
    ],
    "network": ["none", "bridge", "mine", "other", "metamcp-internal"],
    "network-alias": ["a", "b"],
    "pids-limit": ["5", "-1"],
    "platform": ["linux/amd64", "linux/arm64"],
    "publish": _PORTS,
    "pull": ["never", "missing", "always"],
    "shm-size": ["1m"],
    "stop-signal": ["TERM", ""],
    "tmpfs": ["/a", "/b:size=1m", "/b:mode=700"],
    "ulimit": ["nofile=9", "nofile=9:8", "core=0", "cpu=1:-1", "stack=-1"],
    "user": ["1", "me:you", ""],
    "volume": ["/v", "named:/w", "/srv/a:/b", "/srv/a:/b:ro", "/srv/b:/b"],
    "workdir": ["/w", "w", ""],
}  # fmt: skip
_OPTION = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda name: st.sampled_from(list(_VALUES[name])).map(lambda value: f"--{name}={value}")
)
_SWITCHES = st.sampled_from(["--publish-all", "--read-only", "--quiet", "--rm=false"])
_WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@share(0.3)
@given(
    options=st.lists(_OPTION | _SWITCHES, max_size=7),
    env=st.dictionaries(st.sampled_from(["A", "TOKEN", "HOME"]), _WORD, max_size=2),
    command=st.lists(_WORD, max_size=2),
    network=st.sampled_from(["egress", "none", "internal"]),
)
def test_whatever_the_policy_accepts_means_the_same_in_both(
    engine: FakeEngine, options: list[str], env: dict[str, str], command: list[str], network: str
) -> None:
    try:
        launch = planned(options, env, network=network, command=command)
    except RefusedByPolicy:
        return
    assert shown(of_ours(launch)) == shown(of_cli(engine, launch)), f"{launch.argv}: {engine.said}"


def test_everything_that_the_policy_lets_out_has_a_rendering() -> None:
    let_out = check._FREE | check._CHECKED | set(check._EXACTLY) | set(check._WIDENED) | {"name", "label"}
    assert let_out <= RENDERED


# --- what is ours alone ------------------------------------------------------------------------------------


def test_values_of_the_environment_are_in_the_body_and_in_nothing_that_is_shown() -> None:
    launch = planned([], {"TOKEN": "canary-value"})
    assert launch.run is not None
    request = create_request(launch.run, launch.env)
    assert "TOKEN=canary-value" in request.body["Env"]
    assert "canary-value" not in f"{request!r} {request.query}" + " ".join(launch.argv)
    assert "canary-value" not in repr(launch)


@pytest.mark.parametrize(("options", "fetched"), [([], True), (["--pull=missing"], True), (["--pull=never"], False)])
def test_an_image_that_is_not_there_is_fetched_unless_it_must_never_be(options: list[str], fetched: bool) -> None:
    launch = planned(options)
    assert launch.run is not None and pulls(launch.run) is fetched


def test_an_option_without_a_rendering_is_refused_by_its_name() -> None:
    run = parse("docker", ["run", "--privileged", "image"])
    with pytest.raises(InvalidValueError, match="--privileged"):
        create_request(run, {})


def test_a_request_shows_its_name_and_no_body() -> None:
    assert repr(CreateRequest({"name": "n"}, {"Env": ["A=b"]})) == "CreateRequest(query={'name': 'n'})"
