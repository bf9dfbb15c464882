"""One connection to an engine on another machine through the system's ssh client, as the docker command makes it:
``ssh … docker system dial-stdio`` carries the bytes of the engine's socket (docker/cli, connhelper).

The SDK's own way has no deadlines, takes its standard error from us, and leaves its processes unwaited for. Here our
end is a real socket, so that every deadline holds, and ``end`` leaves nothing of the process.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
from collections.abc import Mapping

from metamcp.config.engine_address import ssh_target

_SAID_BYTES = 4096
_END_SECONDS = 1.0


class SshFailed(ConnectionError):
    """``strerror`` is what ssh said."""


class SshConnection:
    """``socket`` speaks to the engine. Raises OSError when ssh cannot be started.

    A socket pair, not pipes: it has timeouts, and one ``shutdown`` wakes whoever reads it.
    """

    def __init__(self, docker_host: str, environ: Mapping[str, str], timeout: float) -> None:
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    ssh_argv(docker_host, timeout), stdin=theirs.fileno(), stdout=theirs.fileno(),
                    stderr=subprocess.PIPE, env=dict(environ), start_new_session=True,
                )  # fmt: skip
        except BaseException:
            self.socket.close()
            raise
        self.socket.settimeout(timeout)

    def said(self) -> str:
        """What ssh has to say about its end, "" while it runs."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return ""
        text = b""
        if self._process.stderr is not None:
            os.set_blocking(self._process.stderr.fileno(), False)  # a proxy command may hold its other end
            with contextlib.suppress(BlockingIOError):
                text = os.read(self._process.stderr.fileno(), _SAID_BYTES)
        return text.decode("utf-8", "replace").strip() or f"ssh ended with {self._process.returncode}"

    def end(self) -> None:
        """Afterwards there is no process. Waits ``2 * _END_SECONDS`` at most."""
        self.socket.close()
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()


def ssh_argv(docker_host: str, seconds: float) -> list[str]:
    """What is run for ``ssh://user@host:port/path``. It asks nobody anything: there is nobody to answer."""
    target = ssh_target(docker_host)
    there = ["docker", *([f"--host=unix://{target.path}"] if target.path else []), "system", "dial-stdio"]
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(seconds))}", "-o", "LogLevel=ERROR", "-T"]
    user = ["-l", target.user] if target.user else []
    port = ["-p", target.port] if target.port else []
    return ["ssh", *options, *user, *port, "--", target.host, shlex.join(there)]
