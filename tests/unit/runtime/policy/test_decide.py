from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from examples import share
from hypothesis import assume, given
from hypothesis import strategies as st

from metamcp.config.model import Allowance, ImageRule, Limits, ServerSpec
from metamcp.errors import CommandInvalid, RefusedByPolicy
from metamcp.runtime.command.flags import RUN, RUN_FLAGS
from metamcp.runtime.command.grammar import DockerRun, emit, parse
from metamcp.runtime.policy import flags
from metamcp.runtime.policy.check import obeys
from metamcp.runtime.policy.decide import Decision, decide

MIB = 1024 * 1024
ROOTS = ("/srv/data", "/run/mine")
LINKS = {"/srv/data/link": "/etc", "/srv/data/engine": "/var/run/docker.sock", "/srv/data/good": "/srv/data/real",
         "/home/link": "/srv/data/x", "/var/run": "/run"}  # fmt: skip


def lexical(path: str) -> str:
    """A machine's realpath, as far as a table of links goes."""
    clean = "/" + posixpath.normpath(path).lstrip("/")
    for link, target in LINKS.items():
        if clean == link or clean.startswith(link + "/"):
            return lexical(target + clean[len(link) :])
    return clean


def judge(
    args: Sequence[str],
    *,
    spec: ServerSpec | None = None,
    allow: Allowance | None = None,
    realpath: Callable[[str], str] = lexical,
    roots: Sequence[str] = ROOTS,
    host_gateway: bool = True,
) -> Decision:
    """Decide, and hold everything that comes out against the independent check."""
    spec = spec or ServerSpec("s")
    rule = ImageRule("*", allow=allow or Allowance())
    setting: dict[str, Any] = {"bind_roots": roots, "realpath": realpath, "host_gateway": host_gateway}
    decision = decide(parse("docker", args), spec, rule, **setting)
    assert obeys(decision.run, spec, rule, **setting)
    again = decide(decision.run, spec, rule, **setting)
    assert sorted(again.run.options) == sorted(decision.run.options), "a decision is final"
    return decision


def run_of(*options: str, **setting: Any) -> DockerRun:
    return judge(["run", *options, "image"], **setting).run


def rules_of(decision: Decision, action: str) -> set[tuple[str, str]]:
    return {(step.flag, step.rule) for step in decision.steps if step.action == action}


def refusal(*args: str, **setting: Any) -> RefusedByPolicy:
    with pytest.raises(RefusedByPolicy) as caught:
        judge(list(args), **setting)
    return caught.value


# --- the seed ----------------------------------------------------------------------------------------------


def test_seed_configuration_runs_hardened() -> None:
    decision = judge(["run", "-i", "my-mcp-image:latest"])
    assert emit(decision.run) == [
        "docker", "run", "--interactive", "--rm", "--init", "--no-healthcheck", "--cap-drop=ALL",
        "--log-driver=none", "--security-opt=no-new-privileges", "--memory=536870912", "--memory-swap=536870912",
        "--cpus=1", "--pids-limit=256", "--ulimit=nofile=4096", "--ulimit=core=0", "--read-only",
        "--tmpfs=/tmp:size=67108864",
        "--add-host=host.docker.internal:host-gateway", "my-mcp-image:latest",
    ]  # fmt: skip
    assert {step.action for step in decision.steps} == {"added"}
    added = {step.flag for step in decision.steps}
    assert added == {word.partition("=")[0] for word in emit(decision.run)[3:-1]}
    assert sum(flag == "--ulimit" for flag in (step.flag for step in decision.steps)) == 2


def test_image_without_a_rule_is_refused() -> None:
    with pytest.raises(RefusedByPolicy) as caught:
        decide(parse("docker", ["run", "a"]), ServerSpec("s"), None, bind_roots=(), realpath=str, host_gateway=False)
    assert caught.value.data["rule"] == "image-not-allowed"


# --- what is dangerous -------------------------------------------------------------------------------------

DANGEROUS = [
    ("--privileged", "privileged"),
    ("--privileged=1", "privileged"),
    ("--privileged=T", "privileged"),
    ("--privileged=false --privileged", "privileged"),
    ("--use-api-socket", "api-socket"),
    ("--use-api-socket=true", "api-socket"),
    ("--use-api-socket=false --use-api-socket=1", "api-socket"),
    ("--privileged=TRUE", "privileged"),
    ("-it --privileged", "privileged"),
    ("--cap-add all", "capabilities"),
    ("--cap-add=CAP_ALL", "capabilities"),
    ("--cap-drop= --cap-add=setuid", "capabilities"),
    ("--cap-add=ALL", "capabilities"),
    ("--cap-add SYS_ADMIN", "capabilities"),
    ("--cap-add cap_sys_ptrace", "capabilities"),
    ("--cap-drop=ALL --cap-add=NET_ADMIN", "capabilities"),
    ("--device /dev/sda", "device"),
    ("--device=/dev/kmsg:/dev/x:rwm", "device"),
    ("--device-cgroup-rule a", "device"),
    ("--device-cgroup-rule=c:*:rwm", "device"),
    ("--device-read-bps /dev/sda:1mb", "device"),
    ("--device-write-iops=/dev/sda:1", "device"),
    ("--gpus all", "gpus"),
    ("--gpus=device=0", "gpus"),
    ("--pid host", "host-namespace"),
    ("--pid=container:other", "host-namespace"),
    ("--ipc=host", "host-namespace"),
    ("--ipc container:other", "host-namespace"),
    ("--ipc=shareable", "host-namespace"),
    ("--ipc=private --ipc=host", "host-namespace"),
    ("--uts=host", "host-namespace"),
    ("--userns host", "host-namespace"),
    ("--cgroupns=host", "host-namespace"),
    ("--cgroupns host", "host-namespace"),
    ("--cgroupns=private --cgroupns=host", "host-namespace"),
    ("--uts host", "host-namespace"),
    ("--userns=keep-id", "host-namespace"),
    ("--userns=auto:size=65536", "host-namespace"),
    ("--pid=private", "host-namespace"),
    ("--ipc=ns:/proc/1/ns/ipc", "host-namespace"),
    ("--net=host", "network-host"),
    ("--net host", "network-host"),
    ("--network host", "network-host"),
    ("--network=HOST", "network-host"),
    ("--network=container:other", "network-host"),
    ("--net=none --net=host", "network-host"),
    ("--network=ns:/proc/1/ns/net", "network-host"),
    ("--network=name=host", "network"),
    ("--network name=host,alias=x", "network"),
    ("--network=container:metamcp-x", "network-host"),
    ("--net container:", "network-host"),
    ("--net=bridge --net=host", "network-host"),
    ("--network=slirp4netns:allow_host_loopback=true", "network"),
    ("--network=pasta", "network"),
    ("--network=private", "network"),
    ("--network=postgres_default", "network"),
    ("--network=", "network"),
    ("--network-alias=db", "network-identity"),
    ("--net-alias db", "network-identity"),
    ("--ip 172.17.0.2", "network-identity"),
    ("--mac-address=02:42:ac:11:00:02", "network-identity"),
    ("--link other", "link"),
    ("--volumes-from other", "volumes-from"),
    ("--volume-driver=nfs", "volume-driver"),
    ("--volume-driver local", "volume-driver"),
    ("--security-opt seccomp:unconfined", "security-opt"),
    ("--security-opt=seccomp=", "security-opt"),
    ("--security-opt=", "security-opt"),
    ("--security-opt=label=type:spc_t", "security-opt"),
    ("--security-opt=writable-cgroups=true", "security-opt"),
    ("--security-opt=unmask=ALL", "security-opt"),
    ("--security-opt=mask=/x", "security-opt"),
    ("--security-opt=proc-opts=hidepid=0", "security-opt"),
    ("--security-opt=credentialspec=file://x", "security-opt"),
    ("--security-opt seccomp=unconfined", "security-opt"),
    ("--security-opt=apparmor:unconfined", "security-opt"),
    ("--security-opt=label=disable", "security-opt"),
    ("--security-opt=label:disable", "security-opt"),
    ("--security-opt=systempaths=unconfined", "security-opt"),
    ("--security-opt no-new-privileges --security-opt=seccomp=/tmp/profile.json", "security-opt"),
    ("--security-opt=no-new-privileges=false", "security-opt"),
    ("--security-opt=no-new-privileges:false", "security-opt"),
    ("--env-file .env", "host-file"),
    ("--env-file=/proc/self/environ", "host-file"),
    ("--env-file /dev/stdin", "host-file"),
    ("--cidfile=/etc/cron.d/x", "host-file"),
    ("--label-file x", "host-file"),
    ("--label-file=/etc/shadow", "host-file"),
    ("--cidfile /tmp/x", "host-file"),
    ("--restart always", "restart"),
    ("--restart=unless-stopped", "restart"),
    ("-p 80:80", "publish"),
    ("-p80:80", "publish"),
    ("-ip80:80", "publish"),
    ("--publish=127.0.0.1:80:80", "publish"),
    ("-P", "publish"),
    ("-iP", "publish"),
    ("--publish-all=true", "publish"),
    ("--runtime=other", "runtime"),
    ("--annotation=run.oci.keep_original_groups=1", "runtime"),
    ("--isolation=hyperv", "runtime"),
    ("--cgroup-parent=/", "cgroup-parent"),
    ("--sysctl net.ipv4.ip_forward=1", "sysctl"),
    ("--oom-kill-disable", "oom"),
    ("--oom-score-adj=-1000", "oom"),
    ("--cpu-rt-runtime=1", "resource-flag"),
    ("--cpu-quota=1000000", "resource-flag"),
    ("--storage-opt=size=1t", "flag-not-allowed"),
    ("--storage-opt=overlay.mount_program=/x", "flag-not-allowed"),
    ("--cpuset-mems=0", "flag-not-allowed"),
    ("--io-maxiops=1", "flag-not-allowed"),
    ("--disable-content-trust", "flag-not-allowed"),
    ("--help", "help"),
    ("--shm-size=1g", "shm-size"),
    ("--ulimit rtprio=99", "ulimit"),
    ("--ulimit=memlock=-1", "ulimit"),
    ("--ulimit=nofile", "ulimit"),
    ("--ulimit=core=-1:x", "ulimit"),
    ("--ulimit=NOFILE=1", "ulimit"),
    ("--ulimit=locks=1", "ulimit"),
    ("--ulimit nice=40", "ulimit"),
    ("--memory=-5", "limit-syntax"),
    ("--shm-size=-1", "limit-syntax"),
    ("--shm-size=65m", "shm-size"),
    ("--group-add docker", "group-add"),
    ("--group-add=DOCKER", "group-add"),
    ("--group-add 0", "group-add"),
    ("--group-add=000", "group-add"),
    ("--group-add=1000 --group-add=root", "group-add"),
    ("--group-add keep-groups", "group-add"),
    ("--group-add=shadow", "group-add"),
    ("--memory=lots", "limit-syntax"),
    ("--memory=", "limit-syntax"),
    ("--pids-limit=0100", "limit-syntax"),
    ("--cpus=1/2", "limit-syntax"),
    ("--shm-size=0", "limit-syntax"),
    ("--env DOCKER_HOST=tcp://x", "env-name-reserved"),
    ("-eLD_PRELOAD=/x.so", "env-name-reserved"),
    ("-e docker_config=/x", "env-name-reserved"),
    ("-e A=1 -eLD_AUDIT=/x", "env-name-reserved"),
    ("-ieDYLD_INSERT_LIBRARIES=/x", "env-name-reserved"),
    ("--env=CONTAINER_HOST=ssh://x", "env-name-reserved"),
    ("--env DOCKER_TLS_VERIFY", "env-name-reserved"),
    ("--env REGISTRY_AUTH_FILE=/x", "env-name-reserved"),
    ("-e PODMAN_USERNS=host", "env-name-reserved"),
    ("-e A\n--privileged=1", "env-name-invalid"),
    ("--env=-v=/:/x", "env-name-invalid"),
    ("-e GODEBUG", "env-name-reserved"),
    ("-e *", "env-name-invalid"),
    ("-e AWS_*", "env-name-invalid"),
    ("-e =x", "env-name-invalid"),
    ("-e=", "env-name-invalid"),
    # binds
    ("-v /var/run/docker.sock:/var/run/docker.sock", "bind-socket"),
    ("-v/run/docker.sock:/x:ro", "bind-socket"),
    ("-itv/var/run/docker.sock:/x", "bind-socket"),
    ("-itv/:/h", "bind-system-path"),
    ("-itdv=/:/h", "bind-system-path"),
    ("-tiv /:/h", "bind-system-path"),
    ("-v=cache:/c --volume /:/h", "bind-system-path"),
    ("--volume=/run:/h", "bind-system-path"),
    ("--volume /var/run/:/h", "bind-system-path"),
    ("-v /run/./../run:/h", "bind-system-path"),
    ("-v /run/docker:/h", "bind-system-path"),
    ("-v /run/user/1000/podman:/x", "bind-system-path"),
    ("-v /run/user/1000/podman/podman.sock:/x", "bind-socket"),
    ("-v /run/containerd/containerd.sock:/x", "bind-socket"),
    ("-v /var/lib/docker:/x", "bind-system-path"),
    ("-v /var/lib/containerd/x:/x", "bind-system-path"),
    ("-v /srv/data/x:/x:exec,suid", "mount-option"),
    ("-v /srv/data/x:/x:dev", "mount-option"),
    ("-v /srv/data/x:/x:O", "mount-option"),
    ("-v /srv/data/x:/x:idmap", "mount-option"),
    ("--mount type=bind,src=/run,dst=/x", "bind-system-path"),
    ('--mount "type=bind","src=/","dst=/x"', "bind-system-path"),
    ('--mount "type=bind","src=/srv/data","src=/var/run","dst=/x"', "bind-system-path"),
    ("--mount type=bind,src=/srv/data/x,dst=/x,bind-recursive=readonly", "mount-option"),
    ("--mount type=bind,src=/srv/data/x,dst=/x,bind-nonrecursive=true", "mount-option"),
    ("--mount type=glob,src=/srv/*,dst=/x", "mount-option"),
    ("--mount type=devpts,dst=/x", "mount-option"),
    ("--mount type=ramfs,dst=/x", "mount-option"),
    ("--tmpfs /x:mode=4777,suid", "mount-option"),
    ("--tmpfs=/sys/fs", "mount-target"),
    ("-v /./var/run//docker.sock:/x", "bind-socket"),
    ("-v /srv/data/../../var/run/docker.sock:/x", "bind-socket"),
    ("-v /srv/data/engine:/x", "bind-socket"),
    ("-v /srv/data/service.SOCK:/x", "bind-socket"),
    ("-v /srv/data/docker.sock.raw:/x", "bind-socket"),
    ("--mount type=bind,src=/run/docker.sock,dst=/x", "bind-socket"),
    ("-v /:/host", "bind-system-path"),
    ("-v //:/host", "bind-system-path"),
    ("-v /srv/..:/host", "bind-system-path"),
    ("-v /etc:/x:ro", "bind-system-path"),
    ("-v /etc/shadow:/x", "bind-system-path"),
    ("-v /srv/data/link:/x", "bind-system-path"),
    ("-v /srv/data/link/shadow:/x", "bind-system-path"),
    ("-v /var:/x", "bind-system-path"),
    ("-v /var/run:/x", "bind-system-path"),
    ("-v /proc:/x", "bind-system-path"),
    ("-v /root/.ssh:/x", "bind-system-path"),
    ("-v /home/me/.aws:/x", "bind-system-path"),
    ("-v /srv/data/.ssh/id_rsa:/x", "bind-system-path"),
    ("-v /srv/data/.config/gcloud:/x", "bind-system-path"),
    ("-v /home/me:/x", "bind-outside-roots"),
    ("-v /srv/data-other:/x", "bind-outside-roots"),
    ("-v /srv/data/../other:/x", "bind-outside-roots"),
    ("-v /srv:/x", "bind-outside-roots"),
    ("-v /srv/data/ok:/a -v /home/me:/b", "bind-outside-roots"),
    ("--volume=/tmp:/x", "bind-outside-roots"),
    ("-v ./here:/x", "bind-not-absolute"),
    ("-v ..:/x", "bind-not-absolute"),
    ("-v ~/x:/x", "bind-not-absolute"),
    (r"-v C:\data:/x", "mount-syntax"),
    (r"-v \\server\share:/x", "bind-not-absolute"),
    ("-v d:/x", "bind-not-absolute"),
    ("-v relative", "mount-syntax"),
    ("-v name:relative", "mount-syntax"),
    ("-v name:/", "mount-syntax"),
    ("-v a:/b:ro:x", "mount-syntax"),
    ("-v :/b", "mount-syntax"),
    ("-v /srv/data/x:/proc/sys", "mount-target"),
    ("-v /srv/data/x:/b:shared", "mount-option"),
    ("-v /srv/data/x:/b:ro,rshared", "mount-option"),
    ("-v /srv/data/x:/b:U", "mount-option"),
    ("--mount type=bind,source=/,target=/host", "bind-system-path"),
    ('--mount type=bind,"source=/etc",target=/x', "bind-system-path"),
    ("--mount TYPE=BIND,SRC=/etc,DST=/x", "bind-system-path"),
    ("--mount type=volume,type=bind,src=/srv/data,src=/etc,dst=/x", "bind-system-path"),
    ("--mount type=bind,source=/srv/data/link,destination=/x,readonly", "bind-system-path"),
    ("--mount type=bind,src=./x,dst=/x", "bind-not-absolute"),
    ("--mount type=bind,dst=/x", "bind-not-absolute"),
    ("--mount type=bind,src=/srv/data/x,dst=/x,bind-propagation=rshared", "mount-option"),
    ("--mount type=volume,dst=/x,volume-driver=local,volume-opt=device=/", "mount-option"),
    ("--mount type=volume,dst=/x,volume-opt=o=bind", "mount-option"),
    ("--mount source=/etc,target=/x", "mount-syntax"),
    ("--mount type=npipe,source=x,target=/x", "mount-option"),
    ("--mount type=image,source=x,target=/x", "mount-option"),
    ("--mount type=cluster,source=x,target=/x", "mount-option"),
    ("--mount type=tmpfs,target=/x,source=/etc", "mount-option"),
    ('--mount type=bind,"source=/etc', "mount-syntax"),
    ('--mount type=bind,source=/srv/data/a"b,target=/x', "mount-syntax"),
    ("--mount type=bind,target", "mount-syntax"),
    ("--mount type=bind,ro=maybe,src=/srv/data,dst=/x", "mount-syntax"),
    ("--mount ", "mount-syntax"),
    ("--tmpfs /x:size=1m,suid", "mount-option"),
    ("--tmpfs /x:dev", "mount-option"),
    ("--tmpfs /x:nr_blocks=0", "mount-option"),
    ("--tmpfs /x:size", "mount-option"),
    ("--tmpfs x", "mount-syntax"),
    ("--tmpfs /proc:size=1m", "mount-target"),
]


@pytest.mark.parametrize(("written", "rule"), DANGEROUS)
def test_dangerous_arguments_are_refused_by_their_rule(written: str, rule: str) -> None:
    error = refusal("run", *re.split(" ", written), "image")
    assert error.data["rule"] == rule
    assert error.data["server"] == "s"
    assert error.data.get("advice")


@pytest.mark.parametrize(
    "written",
    ["-H tcp://x", "-Htcp://x", "--host=x", "--context there", "-c there", "--config /x", "--tls", "--tlscacert=x",
     "--tlscert x", "--tlskey x", "--tlsverify", "-D", "-l debug", "--tls=false"],
)  # fmt: skip
def test_gateway_chooses_the_engine(written: str) -> None:
    assert refusal(*written.split(), "run", "image").data["rule"] == "global-option"


@pytest.mark.parametrize(
    "written",
    ["-H tcp://x run", "-c there run", "--config=/x container run", "-DH tcp://x run", "--context x container run"],
)
@pytest.mark.parametrize("program", ["docker", "podman", "/usr/bin/docker", "docker.exe"])
def test_engine_is_chosen_before_the_verb_by_nobody_else_whatever_the_program(written: str, program: str) -> None:
    with pytest.raises(RefusedByPolicy) as caught:
        decide(parse(program, [*written.split(), "image"]), ServerSpec("s"), ImageRule("*"),
               bind_roots=(), realpath=str, host_gateway=False)  # fmt: skip
    assert caught.value.data["rule"] == "global-option"


@pytest.mark.parametrize(
    "written",
    ["--uidmap=0:0:1", "--gidmap=0:0:1", "--subuidname=x", "--secret=x", "--systemd=always", "--pod=x", "--rootfs",
     "--init-path=/x", "--env-host", "--http-proxy", "--replace", "--preserve-fds=3", "--passwd-entry=x",
     "--hooks-dir=/x", "--conmon-pidfile=/x", "--shm-size-systemd=1", "--unsetenv-all", "--cgroup-conf=x=y"],
)  # fmt: skip
def test_flag_of_podman_alone_is_refused_by_its_name(written: str) -> None:
    with pytest.raises(CommandInvalid) as caught:
        parse("podman", ["run", written, "image"])
    assert caught.value.data["flag"] == written.partition("=")[0]


@pytest.mark.parametrize(
    "written",
    ["exec x sh", "create image", "compose run x", "build -t x .", "cp x:/a /b", "container exec x sh", "system df",
     "image run x", "buildx bake", "context use x", "plugin install x", "run"],
)  # fmt: skip
def test_no_other_verb_starts_a_server(written: str) -> None:
    with pytest.raises(CommandInvalid):
        parse("docker", written.split())


def test_labels_names_and_groups_of_the_gateway_cannot_be_forged() -> None:
    forged = ["--label=metamcp.instance=other", "-l", "metamcp.generation=1", "--name=metamcp-other-1"]
    assert run_of(*forged) == run_of()


@pytest.mark.parametrize("flag", sorted(flag.name for flag in RUN_FLAGS))
def test_every_flag_is_thought_about(flag: str) -> None:
    """A flag that the policy has no table for is refused, never passed on."""
    value = "true" if RUN.longs[flag].arity == "bool" else "x"
    run = DockerRun("docker", (), ((flag, value),), "image", ())
    try:
        decision = decide(run, ServerSpec("s"), ImageRule("*"), bind_roots=(), realpath=lexical, host_gateway=False)
    except RefusedByPolicy as error:
        assert error.data["rule"]
    else:
        written = (flag, value) in decision.run.options
        assert written or any(step.flag == f"--{flag}" for step in decision.steps)


def test_tables_of_the_policy_do_not_overlap() -> None:
    kept, dropped, refused = flags.KEPT, set(flags.DROPPED), set(flags.REFUSED)
    assert not kept & dropped and not kept & refused and not dropped & refused
    assert kept | dropped | refused <= set(RUN.longs)


def test_symlink_on_disk_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "good").mkdir()
    (root / "escape").symlink_to(tmp_path / "outside")
    (root / "fine").symlink_to("good")
    setting: dict[str, Any] = {"realpath": os.path.realpath, "roots": [str(root)]}
    assert refusal("run", "-v", f"{root}/escape:/x", "a", **setting).data["rule"] == "bind-outside-roots"
    assert run_of("-v", f"{root}/fine:/x", **setting).values("volume") == (f"{os.path.realpath(root)}/good:/x",)


# --- what an image may be allowed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "written", "name", "value"),
    [
        (Allowance(cap_add=("CAP_NET_RAW",)), "--cap-add net_raw", "cap-add", "NET_RAW"),
        (Allowance(cap_add=("ALL",)), "--cap-add=SYS_ADMIN", "cap-add", "SYS_ADMIN"),
        (Allowance(shm_size=1024 * MIB), "--shm-size=1g", "shm-size", str(1024 * MIB)),
        (Allowance(devices=("/dev/dri",)), "--device /dev/dri:/dev/dri:r", "device", "/dev/dri:/dev/dri:r"),
        (Allowance(gpus=True), "--gpus all", "gpus", "all"),
        (Allowance(ports=True), "-p 127.0.0.1:1:1", "publish", "127.0.0.1:1:1"),
        (Allowance(ports=True), "-P", "publish-all", "true"),
        (Allowance(binds=("/home/me",)), "-v /home/me/x:/x:ro", "volume", "/home/me/x:/x:ro"),
        (Allowance(network=True), "--net db_default", "network", "db_default"),
        (Allowance(network=True), "--net db_default --ip 10.0.0.2", "ip", "10.0.0.2"),
    ],
)
def test_allowance_of_the_image_widens_the_policy(allow: Allowance, written: str, name: str, value: str) -> None:
    decision = judge(["run", *written.split(), "image"], allow=allow)
    assert decision.run.values(name) == (value,)
    assert name in ("volume", "ip") or any(flag == f"--{name}" for flag, _ in rules_of(decision, "kept"))


@pytest.mark.parametrize(
    ("allow", "written", "rule"),
    [
        (Allowance(cap_add=("NET_RAW",)), "--cap-add=SYS_ADMIN", "capabilities"),
        (Allowance(cap_add=("NET_RAW",)), "--cap-add=ALL", "capabilities"),
        (Allowance(shm_size=128 * MIB), "--shm-size=129m", "shm-size"),
        (Allowance(devices=("/dev/dri",)), "--device=/dev/dri2", "device"),
        (Allowance(network=True), "--network=host", "network-host"),
        (Allowance(network=True), "--network=container:x", "network-host"),
        (Allowance(network=True), "--network=name=x", "network"),
        (Allowance(binds=("/",)), "-v /var/run/docker.sock:/x", "bind-socket"),
        (Allowance(binds=("/",)), "-v /:/x", "bind-system-path"),
        (Allowance(binds=("/",)), "-v /etc:/x", "bind-system-path"),
        (Allowance(binds=("/etc",)), "-v /etc:/x", "bind-system-path"),
        (Allowance(binds=("/etc",)), "-v /etc/x:/x", "bind-system-path"),
        (Allowance(binds=("relative",)), "-v /relative:/x", "bind-outside-roots"),
        (Allowance(user=False), "--user=0", "user"),
        (Allowance(user=False), "-u0", "user"),
    ],
)
def test_allowance_has_its_own_bounds(allow: Allowance, written: str, rule: str) -> None:
    assert refusal("run", *written.split(), "image", allow=allow).data["rule"] == rule


def test_root_inside_a_system_path_is_an_explicit_choice() -> None:
    assert run_of("-v", "/run/mine/x:/x").values("volume") == ("/run/mine/x:/x",)
    assert refusal("run", "-v", "/run/other:/x", "a").data["rule"] == "bind-system-path"


@pytest.mark.parametrize(
    ("of_rule", "of_server", "written", "runs"),
    [
        ("", "", "", ()),
        ("", "", "--user=1", ("1",)),
        ("", "65534:65534", "", ("65534:65534",)),
        ("", "65534:65534", "--user=0", ("65534:65534",)),
        ("1000", "65534:65534", "--user=0", ("1000",)),
        ("1000", "", "", ("1000",)),
    ],
)
def test_user_is_the_rules_then_the_servers_then_the_arguments_then_the_images(
    of_rule: str, of_server: str, written: str, runs: tuple[str, ...]
) -> None:
    spec = ServerSpec("s", user=of_server)
    rule = ImageRule("*", user=of_rule)
    setting: dict[str, Any] = {"bind_roots": (), "realpath": lexical, "host_gateway": True}
    decision = decide(parse("docker", ["run", *written.split(), "image"]), spec, rule, **setting)
    assert obeys(decision.run, spec, rule, **setting)
    assert decision.run.values("user") == runs
    assert (("--user", "user") in rules_of(decision, "rewritten")) == (bool(written) and runs != ("1",))


def test_server_may_not_choose_the_user_of_an_image_that_runs_as_its_own() -> None:
    error = refusal("run", "a", spec=ServerSpec("s", user="1"), allow=Allowance(user=False))
    assert error.data["rule"] == "user"


def test_any_user_is_kept_by_default() -> None:
    assert run_of("-u", "1000:1000").values("user") == ("1000:1000",)


def test_writable_image_gets_no_read_only_root() -> None:
    decision = judge(["run", "a"], allow=Allowance(writable=True))
    assert not decision.run.values("read-only") and not decision.run.values("tmpfs")
    assert ("--read-only", "read-only") in rules_of(decision, "kept")
    assert run_of("--read-only", allow=Allowance(writable=True)).flag("read-only")


# --- what is dropped, and why ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("-t", "no-tty"),
        ("-it", "no-tty"),
        ("-d", "no-detach"),
        ("--name=mine", "name-is-ours"),
        ("-l a=b", "labels-are-ours"),
        ("-a stdout", "attach-is-ours"),
        ("--sig-proxy=false", "attach-is-ours"),
        ("--log-opt=a=b", "log-driver"),
        ("--pull=always", "pull"),
        ("--restart=no", "default-anyway"),
        ("--privileged=false", "default-anyway"),
        ("--privileged --privileged=0", "default-anyway"),
        ("--oom-kill-disable=false", "default-anyway"),
        ("--memory-reservation=1m", "memory-limit"),
        ("-e LOST", "env-without-value"),
        ("-e A=1 -e A=2", "last-one-counts"),
        ("-w /a -w /b", "last-one-counts"),
        ("--network=none --network=bridge", "network"),
    ],
)
def test_harmless_wish_is_dropped_with_a_step(written: str, rule: str) -> None:
    assert rule in {name for _, name in rules_of(judge(["run", *written.split(), "image"]), "dropped")}


def test_dropped_flags_do_not_run() -> None:
    health = " --health-cmd=x --health-interval=1ms --health-retries=1 --stop-timeout=-1 "
    written = health + "-itd --name=mine -l a=b -a stdout --sig-proxy=false --log-opt=a=b --pull=always"
    written += " --restart=no --rm=false"
    assert run_of(*written.split()) == run_of()


@pytest.mark.parametrize("written", ["--rm=false", "-i=false", "--init=false", "--log-driver=json-file",
                                     "--cap-drop=NET_RAW", "--read-only=false", "--memory-swap=-1",
                                     "--no-healthcheck=false", "--log-driver=syslog", "--ulimit=core=-1"])  # fmt: skip
def test_hardening_overrides_what_is_written(written: str) -> None:
    decision = judge(["run", written, "image"])
    assert sorted(decision.run.options) == sorted(run_of().options)
    flag = {"-i": "--interactive"}.get(written.partition("=")[0], written.partition("=")[0])
    assert flag in {step.flag for step in decision.steps if step.action == "rewritten"}


def test_last_value_of_a_single_flag_counts() -> None:
    assert run_of("-w", "/a", "-w", "/b").values("workdir") == ("/b",)
    assert run_of("--ipc=host", "--ipc=private").values("ipc") == ("private",)


@pytest.mark.parametrize(
    "written",
    ["--pull=never", "--pull=missing", "--workdir=/x", "--entrypoint=sh", "--hostname=h", "--platform=linux/arm64",
     "--dns=1.1.1.1", "--group-add=1", "--stop-signal=SIGINT", "--no-healthcheck", "--ulimit=nproc=99",
     "--cgroupns=private",
     "--ipc=none", "--add-host=a:1.2.3.4", "--ulimit=nofile=1024:2048", "--expose=1", "--env=A=b c",
     "--volume=/anonymous", "--volume=cache:/x", "--volume=cache:/x:ro,nocopy", "--volume=/srv/data/x:/x:ro",
     "--mount=type=volume,source=cache,target=/x", "--mount=type=bind,source=/srv/data,target=/x,readonly=true",
     '--mount=type=bind,"source=/srv/data/a,b",target=/x', "--tmpfs=/x:size=1048576,exec", "--network=bridge",
     "--mount=type=tmpfs,target=/x,tmpfs-size=1048576"],
)  # fmt: skip
def test_harmless_flag_is_kept_as_it_is(written: str) -> None:
    assert written in emit(judge(["run", written, "image"]).run)


# --- mounts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "runs"),
    [
        ("-v=/srv/data/good/x:/x", "--volume=/srv/data/real/x:/x"),
        ("-v=/srv//data/./a/../b:/x", "--volume=/srv/data/b:/x"),
        ("-v=/home/link:/x", "--volume=/srv/data/x:/x"),
        ("--mount=type=bind,src=/srv/data/good,dst=/x", "--mount=type=bind,source=/srv/data/real,target=/x"),
        ("--mount=src=cache,dst=/x,ro", "--mount=source=cache,target=/x,readonly=true,type=volume"),
        ("--mount=dst=/x,ro=true,ro=false", "--mount=target=/x,type=volume"),
        ("--tmpfs=/x", "--tmpfs=/x:size=67108864"),
        ("--tmpfs=/x:exec,size=0", "--tmpfs=/x:exec,size=536870912"),
        ("--tmpfs=/x:size=50%", "--tmpfs=/x:size=536870912"),
        ("--tmpfs=/x:size=1m,size=9g", "--tmpfs=/x:size=536870912"),
        ("--mount=type=tmpfs,dst=/x", "--mount=type=tmpfs,target=/x,tmpfs-size=67108864"),
        ("--mount=type=tmpfs,dst=/x,tmpfs-size=0", "--mount=type=tmpfs,target=/x,tmpfs-size=536870912"),
    ],
)  # fmt: skip
def test_mount_is_resolved_and_bounded(written: str, runs: str) -> None:
    assert runs in emit(judge(["run", written, "image"]).run)


@pytest.mark.parametrize("written", ["--tmpfs=/tmp:size=1m", "-v=cache:/tmp", "--mount=dst=/tmp/", "-v=/tmp"])
def test_own_tmp_is_not_mounted_twice(written: str) -> None:
    run = run_of(written)
    assert run.flag("read-only")
    assert "/tmp:size=67108864" not in run.values("tmpfs")


# --- limits ------------------------------------------------------------------------------------------------

_SPEC = ServerSpec("s", limits=Limits(memory=256 * MIB, cpus=0.5, pids=64))


@pytest.mark.parametrize(
    ("written", "name", "runs", "action"),
    [
        ("-m 128m", "memory", str(128 * MIB), "kept"),
        ("--memory=256MiB", "memory", str(256 * MIB), "kept"),
        ("--memory=0.125g", "memory", str(128 * MIB), "kept"),
        ("--memory=1g", "memory", str(256 * MIB), "rewritten"),
        ("--memory=0", "memory", str(256 * MIB), "rewritten"),
        ("--memory=-1", "memory", str(256 * MIB), "rewritten"),
        ("--memory=1m --memory=1t", "memory", str(256 * MIB), "rewritten"),
        ("--cpus=.25", "cpus", "0.25", "kept"),
        ("--cpus=0.50", "cpus", "0.5", "kept"),
        ("--cpus=8", "cpus", "0.5", "rewritten"),
        ("--cpus=0", "cpus", "0.5", "rewritten"),
        ("--pids-limit=10", "pids-limit", "10", "kept"),
        ("--pids-limit=-1", "pids-limit", "64", "rewritten"),
        ("--pids-limit=100000", "pids-limit", "64", "rewritten"),
    ],
)
def test_own_limit_counts_when_it_is_lower(written: str, name: str, runs: str, action: str) -> None:
    decision = judge(["run", *written.split(), "image"], spec=_SPEC)
    assert decision.run.values(name) == (runs,)
    assert f"--{name}" in {flag for flag, _ in rules_of(decision, action)}
    assert decision.run.values("memory-swap") == decision.run.values("memory")


def test_limits_of_the_server_are_added() -> None:
    run = run_of(spec=_SPEC)
    limits = [run.values(name) for name in ("memory", "memory-swap", "cpus", "pids-limit")]
    assert limits == [("268435456",), ("268435456",), ("0.5",), ("64",)]


def test_own_file_limit_counts_where_it_is_lower_and_no_core_limit_does() -> None:
    assert run_of("--ulimit=core=1").values("ulimit") == run_of().values("ulimit")
    assert run_of("--ulimit=nofile=1", "--ulimit=nofile=2").values("ulimit") == ("nofile=2", "core=0")
    for more in ("-1", "1024:9999999", "65537"):
        assert run_of(f"--ulimit=nofile={more}").values("ulimit") == ("nofile=65536", "core=0")
    assert run_of("--ulimit=nproc=5").values("ulimit") == ("nproc=5", "nofile=4096", "core=0")


def test_small_shared_memory_needs_no_allowance() -> None:
    assert run_of("--shm-size=64m").values("shm-size") == (str(64 * MIB),)


# --- network and localhost ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "written", "runs", "action"),
    [
        ("egress", "", (), None),
        ("egress", "--network=bridge", ("bridge",), "kept"),
        ("egress", "--network=default", ("bridge",), "kept"),
        ("egress", "--net=none", ("none",), "kept"),
        ("egress", "--net=metamcp-internal", ("metamcp-internal",), "kept"),
        ("none", "", ("none",), "added"),
        ("none", "--network=none", ("none",), None),
        ("none", "--network=bridge", ("none",), "rewritten"),
        ("none", "--network=metamcp-internal", ("none",), "rewritten"),
        ("internal", "", ("metamcp-internal",), "added"),
        ("internal", "--network=none", ("none",), "kept"),
        ("internal", "--network=bridge", ("metamcp-internal",), "rewritten"),
        ("internal", "--network=db", ("metamcp-internal",), "rewritten"),
        ("egress", "--network=db --network=web", ("db", "web"), "kept"),
    ],
)
def test_stricter_network_wins(configured: Any, written: str, runs: tuple[str, ...], action: str | None) -> None:
    spec = ServerSpec("s", network=configured)
    decision = judge(["run", *written.split(), "image"], spec=spec, allow=Allowance(network=True))
    assert decision.run.values("network") == runs
    assert [step.action for step in decision.steps if step.flag == "--network"] == ([action] if action else [])


def test_address_in_no_network_of_ones_own_is_dropped() -> None:
    decision = judge(["run", "--network-alias=db", "a"], allow=Allowance(network=True))
    assert ("--network-alias", "network-identity") in rules_of(decision, "dropped")
    assert not decision.run.values("network-alias")


def test_host_gateway_is_added_once_and_only_where_it_can_be_reached() -> None:
    ours = ("host.docker.internal:host-gateway",)
    assert run_of().values("add-host") == ours
    assert run_of("--add-host=" + ours[0]).values("add-host") == ours
    for other in ("host.docker.internal=10.0.0.1", "host.docker.internal:6.6.6.6", "HOST.docker.internal:6.6.6.6"):
        decision = judge(["run", f"--add-host={other}", "--add-host=a:1.2.3.4", "image"])
        assert decision.run.values("add-host") == ("a:1.2.3.4", *ours)
        assert ("--add-host", "host-gateway") in rules_of(decision, "rewritten")
    assert run_of("--add-host=host.docker.internal:1.2.3.4", host_gateway=False).values("add-host") == (
        "host.docker.internal:1.2.3.4",
    )
    assert run_of("--network=none").values("add-host") == ()
    assert run_of(host_gateway=False).values("add-host") == ()


def test_localhost_is_pointed_at_the_engines_machine_and_steps_hide_the_values() -> None:
    spec = ServerSpec("s", env={"API": "http://localhost:1/key", "PLAIN": "x"})
    args = ["run", "-e", "DB=http://me:hidden@localhost/x", "-e", "A=b", "image", "serve", "--url=http://k:hidden@localhost"]
    decision = judge(args, spec=spec)
    assert "DB=http://me:hidden@host.docker.internal/x" in decision.run.values("env")
    assert decision.run.command == ("serve", "--url=http://k:hidden@host.docker.internal")
    assert decision.points_localhost
    steps = [step for step in decision.steps if step.rule == "localhost"]
    assert [(step.flag, step.note.partition(":")[0]) for step in steps[:2]] == [("--env", "DB"), ("--env", "API")]
    assert steps[2].flag == "argument 2" and len(steps) == 3
    assert "hidden" not in repr(decision.steps) and "/key" not in repr(decision.steps)


@pytest.mark.parametrize("setting", [{"host_gateway": False}, {"spec": ServerSpec("s", network="none")}])
def test_localhost_stays_where_the_engines_machine_cannot_be_reached(setting: Mapping[str, Any]) -> None:
    decision = judge(["run", "-e", "A=localhost", "image", "localhost"], **setting)
    assert (decision.run.values("env"), decision.run.command) == (("A=localhost",), ("localhost",))
    assert not decision.points_localhost


# --- environment -------------------------------------------------------------------------------------------


def test_env_of_the_server_wins_and_reaches_the_container() -> None:
    spec = ServerSpec("s", env={"TOKEN": "${TOKEN}", "MORE": "1"})
    decision = judge(["run", "-e", "TOKEN=mine", "-e", "OTHER=2", "image"], spec=spec)
    assert decision.run.values("env") == ("TOKEN", "OTHER=2", "MORE")
    assert ("--env", "env-of-the-server-wins") in rules_of(decision, "dropped")
    assert ("--env", "env-of-the-server") in rules_of(decision, "added")


def test_name_alone_takes_the_value_of_the_server_and_never_the_gateways() -> None:
    spec = ServerSpec("s", env={"TOKEN": "${TOKEN}"})
    assert run_of("-e", "TOKEN", "-e", "HOME", spec=spec).values("env") == ("TOKEN",)


def test_reserved_name_in_the_servers_env_is_refused() -> None:
    error = refusal("run", "image", spec=ServerSpec("s", env={"DOCKER_HOST": "tcp://hidden"}))
    assert error.data["rule"] == "env-name-reserved"
    assert "hidden" not in str(error) + repr(error.data)


# --- whatever is written -----------------------------------------------------------------------------------

_VALUES = st.one_of(
    st.sampled_from(
        ["", "x", "1", "0", "-1", "64m", "host", "none", "bridge", "private", "ALL", "no-new-privileges", "never", "no",
         "A=b", "A", "PATH=/x", "DB=http://localhost", "/srv/data/x:/x", "/srv/data/link:/x:ro", "cache:/x", "/x",
         "/var/run/docker.sock:/x", "type=bind,src=/srv/data/good,dst=/x", "type=tmpfs,dst=/x", "/tmp:size=1g",
         "type=volume,dst=/x", "core=0", "nofile=5", "host.docker.internal:1.2.3.4", "NET_RAW", "/dev/dri", "db",
         "type=bind,src=/,dst=/x", "container:x", "metamcp-internal"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10),
)  # fmt: skip
_LIKELY = [
    "e", "v", "network", "mount", "tmpfs", "memory", "cpus", "pids-limit", "ulimit", "add-host", "cap-add", "pull",
    "rm", "read-only", "init", "ipc", "device", "shm-size", "user", "workdir", "env", "volume",
]  # fmt: skip


@st.composite
def _words(draw: st.DrawFn) -> list[str]:
    name = draw(st.one_of(st.sampled_from(_LIKELY), st.sampled_from(sorted(RUN.longs))))
    flag, value = RUN.longs.get(name) or RUN.shorts[name], draw(_VALUES)
    if flag.arity == "bool":
        return [draw(st.sampled_from([f"--{name}", f"--{name}=false"]))]
    if flag.short and draw(st.booleans()):
        short = f"-{flag.short}"
        return draw(st.sampled_from([[short + value], [f"-i{flag.short}", value], [f"{short}={value}"]]))
    return draw(st.sampled_from([[f"--{flag.name}={value}"], [f"--{flag.name}", value]]))


_SPECS = st.builds(
    ServerSpec,
    name=st.just("s"),
    env=st.sampled_from([{}, {"A": "1"}, {"A": "localhost", "PATH": "/x"}]),
    network=st.sampled_from(["none", "internal", "egress"]),
    limits=st.builds(Limits, st.integers(6 * MIB, 2048 * MIB), st.floats(0.01, 64), st.integers(1, 4096)),
)
_ALLOWANCES = st.builds(
    Allowance,
    network=st.booleans(),
    cap_add=st.sampled_from([(), ("NET_RAW",), ("ALL",)]),
    shm_size=st.sampled_from([None, 1024 * MIB]),
    devices=st.sampled_from([(), ("/dev/dri",)]),
    gpus=st.booleans(),
    ports=st.booleans(),
    binds=st.sampled_from([(), ("/home/me",), ("/",)]),
    writable=st.booleans(),
    user=st.booleans(),
)


@share(6)
@given(st.lists(_words(), max_size=5), _SPECS, _ALLOWANCES, st.booleans())
def test_any_argv_is_refused_or_becomes_one_that_obeys(
    words: list[list[str]], spec: ServerSpec, allow: Allowance, host_gateway: bool
) -> None:
    args = ["run", *(word for group in words for word in group), "image", "localhost:1"]
    try:
        decision = judge(args, spec=spec, allow=allow, host_gateway=host_gateway)
    except (CommandInvalid, RefusedByPolicy):
        return
    argv = emit(decision.run)
    assert parse(argv[0], argv[1:]) == decision.run


@share(3)
@given(st.lists(_words(), max_size=3), st.sampled_from(DANGEROUS))
def test_dangerous_argument_never_gets_through_whatever_stands_beside_it(
    words: list[list[str]], dangerous: tuple[str, str]
) -> None:
    beside = [word for group in words for word in group]
    try:
        run = parse("docker", ["run", *beside, "image"])
    except CommandInvalid:
        assume(False)
        return
    assume(run.image == "image")
    with pytest.raises((RefusedByPolicy, CommandInvalid)):
        judge(["run", *beside, *dangerous[0].split(" "), "image"])


@pytest.mark.parametrize(
    "written",
    ["--privileged", "--network=host", "--volume=/etc:/x", "--volume=/srv/data/link:/x", "--cap-add=NET_RAW",
     "--security-opt=seccomp=unconfined", "--pid=host", "--mount=type=bind,source=/etc,target=/x", "--tmpfs=/x",
     "--memory=1", "--ipc=host", "--device=/dev/dri", "--user=0", "--publish=1", "--shm-size=99999999999",
     "--ulimit=rtprio=1", "--pull=always", "--ulimit=core=1", "--ulimit=nofile=999999", "--group-add=docker",
     "--add-host=a:b"],
)  # fmt: skip
def test_independent_check_sees_a_slip_of_the_policy(written: str) -> None:
    rule = ImageRule("*", allow=Allowance(user=False))
    setting: dict[str, Any] = {"bind_roots": ROOTS, "realpath": lexical, "host_gateway": True}
    good = decide(parse("docker", ["run", "image"]), ServerSpec("s"), rule, **setting).run
    name, _, value = written[2:].partition("=")
    slipped = good.with_option(name, value or "true")
    if name == "add-host":
        slipped = replace(good.without(name), image="image")  # the host gateway is missing
    assert obeys(good, ServerSpec("s"), rule, **setting)
    assert not obeys(slipped, ServerSpec("s"), rule, **setting)
