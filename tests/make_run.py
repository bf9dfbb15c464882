"""`make run` as a newcomer types it, with the shipped configuration, on a free port."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway_process import ROOT, STOP_SECONDS, GatewayProcess, eventually, free_port


@contextmanager
def make_run(folder: Path, env: Mapping[str, str]) -> Iterator[GatewayProcess]:
    """The gateway, up; at the end SIGTERM for its master, which must end with 0 and `make` with it."""
    port = free_port()
    own = {"METAMCP_BIND": f"127.0.0.1:{port}", "METAMCP_STATE_DIR": str(folder / "var"), "WEB_CONCURRENCY": "1"}
    with (folder / "gateway.log").open("wb") as log:
        make = subprocess.Popen(
            ["make", "run"], cwd=ROOT, env={**os.environ, **env, **own}, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    gateway = GatewayProcess(make, port, folder)
    try:
        gateway.wait_up()
        yield gateway
        os.kill(_master(make.pid), signal.SIGTERM)
        assert make.wait(STOP_SECONDS) == 0, gateway.log
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGTERM)
            eventually(lambda: make.poll() is not None, "make ends", STOP_SECONDS)
        print(gateway.log)


def _master(make: int) -> int:
    (master,) = Path(f"/proc/{make}/task/{make}/children").read_text().split()
    return int(master)
