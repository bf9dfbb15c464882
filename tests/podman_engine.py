"""A Podman of one's own for tests: its API service on a private socket, over a storage of its own."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker_engine import LASTING, STOP_SECONDS, Engine, NoEngine, unmount_below, wait_until

IMAGE = "localhost/metamcp-test:local"
START_SECONDS, LOAD_SECONDS = 60, 240


@contextmanager
def open_podman(docker: Engine) -> Iterator[Engine]:
    """A private service with the test image of ``docker``, ended by its own pid. Raises NoEngine."""
    if shutil.which("podman") is None:
        raise NoEngine("podman is not installed (Debian: apt-get install podman crun conmon netavark catatonit)")
    if os.geteuid() != 0:
        raise NoEngine("only root can start a podman of its own")
    folder = Path(tempfile.mkdtemp(prefix="mmcp-", dir="/var/tmp"))
    engine = _engine(folder)
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(_argv(folder), env=engine.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    LASTING.add(service.pid)
    try:
        if not wait_until((folder / "podman.sock").exists, START_SECONDS):
            raise NoEngine(f"podman did not start:\n{(folder / 'service.log').read_text()[-2000:]}")
        _load(docker, engine)
        yield engine
    finally:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            engine.docker("rm", "--all", "--force", "--time=0", timeout=STOP_SECONDS)
        service.terminate()
        try:
            service.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait(STOP_SECONDS)
        unmount_below(folder)
        shutil.rmtree(folder)


def _engine(folder: Path) -> Engine:
    host = f"unix://{folder}/podman.sock"
    (folder / "containers.conf").write_text(_configuration())
    own = {"DOCKER_HOST": host, "CONTAINER_HOST": host, "CONTAINERS_CONF": f"{folder}/containers.conf"}
    return Engine(host, {**os.environ, **own}, IMAGE, "podman")


def _configuration() -> str:
    """crun has no hierarchy beside that of cgroup v1; without CAP_SYS_RESOURCE no limit may be above our own."""
    runtime = "crun" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "runc"
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    limits = "" if processes == resource.RLIM_INFINITY else f'default_ulimits = ["nproc={processes}:{processes}"]\n'
    return f'[containers]\n{limits}[engine]\nruntime = "{runtime}"\ncgroup_manager = "cgroupfs"\n'


def _argv(folder: Path) -> list[str]:
    # setpriv: if the test run is killed, its service goes, too. Without CONTAINER_HOST it is a client of nobody.
    places = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp"]
    service = ["system", "service", "--time=0", f"unix://{folder}/podman.sock"]
    alone = ["env", "--unset=CONTAINER_HOST", "setpriv", "--pdeathsig", "TERM"]
    return [*alone, "podman", *places, "--events-backend=file", *service]


def _load(docker: Engine, podman: Engine) -> None:
    with subprocess.Popen(["docker", "save", docker.image], env=docker.env, stdout=subprocess.PIPE) as saved:
        done = subprocess.run(
            ["podman", "load"], env=podman.env, stdin=saved.stdout, capture_output=True, text=True,
            timeout=LOAD_SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
