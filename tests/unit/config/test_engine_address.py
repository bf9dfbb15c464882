"""Which engine is used, and why: tables of environments, sockets and files of the docker command.

Nothing here is run on macOS or Windows: the tables say what their products document.
"""

from __future__ import annotations

import json
import socket
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.engine_address import ENGINE_VARIABLES, EngineAddress, address_problem, locate, ssh_target
from metamcp.errors import ConfigInvalid

HOME = "/home/op"
FOLDER = f"{HOME}/.docker"


class Machine:
    """``files``: text by path; what has the text "socket" is one. Folders are what their paths say."""

    def __init__(self, *sockets: str, **files: str) -> None:
        self.sockets = set(sockets)
        self.files = dict(files)

    def is_socket(self, path: str) -> bool:
        return path in self.sockets

    def is_readable(self, path: str) -> bool:
        return path in self.files

    def names(self, folder: str) -> list[str]:
        below = [path for path in (*self.sockets, *self.files) if path.startswith(f"{folder}/")]
        return sorted({path.removeprefix(f"{folder}/").split("/")[0] for path in below})

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def home(self) -> str:
        return "/root"


def found(machine: Machine | None = None, platform: str = "linux", **environ: str) -> EngineAddress:
    return locate({"HOME": HOME, **environ}, machine or Machine(), platform)


def refused(machine: Machine | None = None, **environ: str) -> tuple[str, str]:
    with pytest.raises(ConfigInvalid) as caught:
        found(machine, **environ)
    [problem] = caught.value.problems
    return problem


def pem(*names: str, folder: str = "/certs") -> dict[str, str]:
    return {f"{folder}/{name}.pem": "PEM" for name in names}


def context(name: str, host: Any, *, skip: bool = False, tls: tuple[str, ...] = ()) -> dict[str, str]:
    key = sha256(name.encode()).hexdigest()
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip}}}
    files = {f"{FOLDER}/contexts/meta/{key}/meta.json": json.dumps(meta)}
    return files | pem(*tls, folder=f"{FOLDER}/contexts/tls/{key}/docker")


# --- DOCKER_HOST and TLS -----------------------------------------------------------------------------------

HOSTS = [
    ({"DOCKER_HOST": "unix:///srv/d.sock"}, "unix:///srv/d.sock"),
    ({"DOCKER_HOST": "unix:///srv/d.sock", "METAMCP_RUNTIME": "podman"}, "unix:///srv/d.sock"),
    ({"DOCKER_HOST": "unix:///srv/d.sock", "DOCKER_TLS_VERIFY": "1"}, "unix:///srv/d.sock"),
    ({"DOCKER_HOST": "tcp://proxy"}, "tcp://proxy:2375"),
    ({"DOCKER_HOST": "tcp://[::1]:99"}, "tcp://[::1]:99"),
    ({"DOCKER_HOST": "http://proxy:80/docker"}, "tcp://proxy:80/docker"),
    ({"DOCKER_HOST": "ssh://op@far:2222/run/d.sock"}, "ssh://op@far:2222/run/d.sock"),
    ({"DOCKER_HOST": "npipe:////./pipe/other"}, "npipe:////./pipe/other"),
    ({"DOCKER_HOST": " tcp://proxy:1 ", "DOCKER_CONTEXT": "nope"}, "tcp://proxy:1"),
]


@pytest.mark.parametrize(("environ", "host"), HOSTS)
def test_docker_host_goes_before_everything_and_has_no_tls_of_itself(environ: dict[str, str], host: str) -> None:
    address = found(Machine("/var/run/docker.sock"), **environ)
    assert (address.host, address.because, address.tls) == (host, "DOCKER_HOST is set", None)
    assert address.variables() == {"DOCKER_HOST": host}


TLS = [
    ({"DOCKER_HOST": "tcp://far", "DOCKER_TLS_VERIFY": "0"}, "tcp://far:2376", True),
    ({"DOCKER_HOST": "tcp://far:1", "DOCKER_TLS": "1"}, "tcp://far:1", False),
    ({"DOCKER_HOST": "tcp://far:1", "DOCKER_TLS": "1", "DOCKER_TLS_VERIFY": "1"}, "tcp://far:1", True),
    ({"DOCKER_HOST": "https://far"}, "tcp://far:2376", True),
    ({"DOCKER_TLS_VERIFY": "1"}, "tcp://localhost:2376", True),
]


@pytest.mark.parametrize(("environ", "host", "verify"), TLS)
def test_tls_is_what_the_docker_command_means_by_its_variables(
    environ: dict[str, str], host: str, verify: bool
) -> None:
    address = found(Machine(**pem("ca", "cert", "key")), DOCKER_CERT_PATH="/certs", **environ)
    assert address.host == host and address.tls is not None
    assert (address.tls.ca, address.tls.cert, address.tls.key) == ("/certs/ca.pem", "/certs/cert.pem", "/certs/key.pem")
    assert (address.tls.client, address.tls.verify) == (True, verify)
    switch = "DOCKER_TLS_VERIFY" if verify else "DOCKER_TLS"
    assert address.variables() == {"DOCKER_HOST": host, "DOCKER_CERT_PATH": "/certs", switch: "1"}
    assert address.tls_shown == ("verified" if verify else "not verified")


def test_certificates_are_below_docker_config_or_home_unless_a_folder_is_named() -> None:
    far = {"DOCKER_HOST": "tcp://far", "DOCKER_TLS_VERIFY": "1"}
    by_home = found(Machine(**pem("ca", folder=FOLDER)), **far)
    by_config = found(Machine(**pem("ca", folder="/etc/d")), DOCKER_CONFIG="/etc/d", **far)
    assert by_home.tls and by_config.tls
    assert (by_home.tls.folder, by_config.tls.folder) == (FOLDER, "/etc/d")
    assert not by_home.tls.client


@pytest.mark.parametrize(
    ("there", "word"),
    [((), "ca.pem"), (("cert", "key"), "ca.pem"), (("ca", "cert"), "key.pem"), (("ca", "key"), "/certs/cert.pem")],
)
def test_certificates_that_are_not_whole_are_named(there: tuple[str, ...], word: str) -> None:
    far = {"DOCKER_HOST": "tcp://far", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
    variable, text = refused(Machine(**pem(*there)), **far)
    assert variable == "DOCKER_CERT_PATH" and word in text


@pytest.mark.parametrize(
    "host",
    ["far:2375", "ftp://far", "unix://", "tcp://", "tcp://far:0", "tcp://far:65536", "tcp://u:secret@far:1", "ssh://",
     "ssh://op:secret@far", "ssh://-oProxyCommand=x", "ssh://-l@far", "ssh://far?x=1", "ssh://far#x", "ssh://far:0"],
)  # fmt: skip
def test_address_that_leads_nowhere_is_refused_without_being_repeated(host: str) -> None:
    variable, text = refused(DOCKER_HOST=host)
    assert variable == "DOCKER_HOST"
    assert "secret" not in text and "://" in text


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("ssh://Far", ("", "Far", "", "")),
        ("ssh://op@far:22/", ("op", "far", "22", "")),
        ("ssh://op@[fe80::1%eth0]:22/run/d.sock", ("op", "fe80::1%eth0", "22", "/run/d.sock")),
    ],
)
def test_parts_of_an_ssh_address(host: str, parts: tuple[str, ...]) -> None:
    target = ssh_target(host)
    assert (target.user, target.host, target.port, target.path) == parts


@given(st.text(alphabet="sthcpux:/@-.[]%0129 ?#\n") | st.text())
def test_whatever_is_taken_as_an_ssh_address_has_parts_that_are_no_options(text: str) -> None:
    host = f"ssh://{text}"
    if address_problem(host) is None:
        target = ssh_target(host)
        assert target.host and not target.host.startswith("-") and not target.user.startswith("-")
        assert not target.port or 0 < int(target.port) < 65536


# --- contexts ----------------------------------------------------------------------------------------------


def test_variable_goes_before_the_current_context_of_the_docker_command() -> None:
    files = context("one", "unix:///one.sock") | context("two", "ssh://op@two")
    machine = Machine(**files, **{f"{FOLDER}/config.json": '{"currentContext": "one"}'})
    current, named = found(machine), found(machine, DOCKER_CONTEXT="two")
    assert (current.host, named.host) == ("unix:///one.sock", "ssh://op@two")
    assert "'one' is the current context" in current.because
    assert named.because == "DOCKER_CONTEXT names the context 'two'"


@pytest.mark.parametrize("config", ["{}", '{"currentContext": ""}', '{"currentContext": "default"}', "[]"])
def test_default_context_is_no_context(config: str) -> None:
    machine = Machine("/var/run/docker.sock", **{f"{FOLDER}/config.json": config})
    assert found(machine).host == "unix:///var/run/docker.sock"
    assert found(Machine(), DOCKER_CONTEXT="default").host == "unix:///var/run/docker.sock"


@pytest.mark.parametrize("skip", [False, True])
def test_context_brings_its_own_certificates(skip: bool) -> None:
    machine = Machine(**context("far", "tcp://far:1", skip=skip, tls=("ca", "cert", "key")))
    address = found(machine, DOCKER_CONTEXT="far", DOCKER_CERT_PATH="/elsewhere")
    key = sha256(b"far").hexdigest()
    assert address.tls is not None and address.tls.verify is not skip
    assert address.tls.folder == f"{FOLDER}/contexts/tls/{key}/docker"


def test_context_without_certificates_has_no_tls() -> None:
    address = found(Machine(**context("far", "tcp://far")), DOCKER_CONTEXT="far", DOCKER_TLS_VERIFY="1")
    assert (address.host, address.tls) == ("tcp://far:2375", None)


@pytest.mark.parametrize(
    ("files", "environ", "blamed", "word"),
    [
        ({}, {"DOCKER_CONTEXT": "nope"}, "DOCKER_CONTEXT", "docker context ls"),
        ({f"{FOLDER}/config.json": '{"currentContext": "nope"}'}, {}, f"{FOLDER}/config.json", "no context 'nope'"),
        ({f"{FOLDER}/config.json": "{"}, {}, f"{FOLDER}/config.json", "no JSON"),
        ({f"{FOLDER}/config.json": '{"currentContext": 7}'}, {}, f"{FOLDER}/config.json", "not a text"),
        (context("x", None), {"DOCKER_CONTEXT": "x"}, "DOCKER_CONTEXT", "no usable address"),
        (context("x", "ftp://x"), {"DOCKER_CONTEXT": "x"}, "DOCKER_CONTEXT", "no usable address"),
        (context("x", "tcp://x", skip=True), {"DOCKER_CONTEXT": "x"}, "DOCKER_CONTEXT", "ca.pem"),
        (context("x", "tcp://x", tls=("ca", "key")), {"DOCKER_CONTEXT": "x"}, "DOCKER_CONTEXT", "cert.pem"),
    ],
)
def test_context_that_cannot_be_used_is_named_with_what_names_it(
    files: dict[str, str], environ: dict[str, str], blamed: str, word: str
) -> None:
    path, text = refused(Machine(**files), **environ)
    assert path == blamed and word in text


def test_broken_meta_file_of_a_context_is_named() -> None:
    path = f"{FOLDER}/contexts/meta/{sha256(b'x').hexdigest()}/meta.json"
    assert refused(Machine(**{path: "no JSON"}), DOCKER_CONTEXT="x")[0] == path
    assert "no usable address" in refused(Machine(**{path: '{"Endpoints": []}'}), DOCKER_CONTEXT="x")[1]


# --- nothing is set ----------------------------------------------------------------------------------------

PODMAN = {"METAMCP_RUNTIME": "podman", "DOCKER_CONTEXT": "nope"}
SOCKETS = [
    ("linux", {}, [], "/var/run/docker.sock", "none of"),
    ("linux", {}, ["/var/run/docker.sock", f"{HOME}/.rd/docker.sock"], "/var/run/docker.sock", "Docker is"),
    ("linux", {"XDG_RUNTIME_DIR": "/run/user/7"}, ["/run/user/7/docker.sock"], "/run/user/7/docker.sock", "rootless"),
    ("linux", {}, ["/run/user/7/docker.sock"], "/var/run/docker.sock", "none of"),
    ("linux", {}, [f"{HOME}/.docker/desktop/docker.sock"], f"{HOME}/.docker/desktop/docker.sock", "Docker Desktop"),
    ("linux", {"XDG_RUNTIME_DIR": "/run/user/7"}, ["/run/user/7/podman/podman.sock", "/run/podman/podman.sock"],
     "/run/user/7/podman/podman.sock", "rootless Podman"),
    ("linux", {}, ["/run/podman/podman.sock"], "/run/podman/podman.sock", "Podman"),
    ("linux", PODMAN, ["/var/run/docker.sock", "/run/podman/podman.sock"], "/run/podman/podman.sock", "Podman"),
    ("linux", PODMAN, ["/var/run/docker.sock"], "/run/podman/podman.sock", "none of"),
    ("darwin", {}, [], "/var/run/docker.sock", "none of"),
    ("darwin", {}, [f"{HOME}/.docker/run/docker.sock", f"{HOME}/.rd/docker.sock"], f"{HOME}/.docker/run/docker.sock",
     "Docker Desktop"),
    ("darwin", {}, [f"{HOME}/.colima/a/docker.sock", f"{HOME}/.colima/default/docker.sock"],
     f"{HOME}/.colima/default/docker.sock", "Colima (profile default)"),
    ("darwin", {}, [f"{HOME}/.colima/b/docker.sock", f"{HOME}/.colima/a/docker.sock"],
     f"{HOME}/.colima/a/docker.sock", "Colima (profile a)"),
    ("darwin", {"COLIMA_HOME": "/c"}, ["/c/default/docker.sock"], "/c/default/docker.sock", "Colima"),
    ("darwin", {}, [f"{HOME}/.rd/docker.sock"], f"{HOME}/.rd/docker.sock", "Rancher Desktop"),
    ("darwin", {}, [f"{HOME}/.orbstack/run/docker.sock"], f"{HOME}/.orbstack/run/docker.sock", "OrbStack"),
    ("darwin", {}, [f"{HOME}/.local/share/containers/podman/machine/podman.sock"],
     f"{HOME}/.local/share/containers/podman/machine/podman.sock", "Podman"),
]  # fmt: skip


@pytest.mark.parametrize(("platform", "environ", "sockets", "path", "word"), SOCKETS)
def test_first_known_socket_that_is_there_is_taken(
    platform: str, environ: dict[str, str], sockets: list[str], path: str, word: str
) -> None:
    address = found(Machine(*sockets), platform, **environ)
    assert address.host == f"unix://{path}"
    assert word in address.because


def test_windows_has_a_pipe_that_is_not_looked_for() -> None:
    address = found(Machine(), "win32")
    assert (address.host, address.tls) == ("npipe:////./pipe/docker_engine", None)


def test_empty_variable_counts_as_unset() -> None:
    address = found(Machine("/var/run/docker.sock"), **dict.fromkeys(ENGINE_VARIABLES, " "))
    assert address.host == "unix:///var/run/docker.sock"


# --- this machine ------------------------------------------------------------------------------------------


def test_files_of_this_machine_are_read_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / ".docker"
    (folder / "run").mkdir(parents=True)
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docker.sock"))
        address = locate(environ)
    # An engine of this machine goes before.
    assert address.host in ("unix:///var/run/docker.sock", f"unix://{tmp_path}/docker.sock")
    (folder / "config.json").write_text('{"currentContext": "far"}')
    with pytest.raises(ConfigInvalid):
        locate(environ)
    meta = folder / "contexts/meta" / sha256(b"far").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text('{"Endpoints": {"docker": {"Host": "tcp://far:1"}}}')
    assert locate(environ).host == "tcp://far:1"
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        locate(environ)


def test_readable_certificates_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    environ = {"DOCKER_HOST": "tcp://far", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    address = locate(environ)
    assert address.tls is not None and address.tls.ca == f"{tmp_path}/ca.pem" and not address.tls.client
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ConfigInvalid, match=r"ca\.pem"):
        locate(environ)
