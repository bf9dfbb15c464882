"""Leaving root: how the web tier becomes a process that could not tell a secret, whatever is done to it.

gunicorn's own ``user`` is not enough: its workers are forks of the master, so they hold whatever the master has read,
and ``/proc/<pid>/environ`` shows what the master was started with. Here the whole of gunicorn is executed anew, as the
user of the web tier, without groups and with the few variables that it needs; nothing survives that but a channel to
the keeper, which stays root (``keeper.py``).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from socket import socketpair
from typing import NoReturn

from metamcp.config.loader import ALLOWLIST_FILE, SERVERS_FILE, load
from metamcp.config.settings import WEB_VARIABLES, Settings
from metamcp.errors import ConfigInvalid

SEPARATED = "METAMCP_SEPARATED"
"""Set for the web tier once it is on its own: the descriptor of the channel, or empty in split mode."""

_VARIABLES = {*WEB_VARIABLES, "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS", "LANG", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"}
_FAMILIES = ("LC_", "PYTHON")
_NO_NEW_PRIVILEGES = 38  # prctl(2)


def needed(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether this process is to be separated, and is not yet."""
    return bool(settings.web_user) and SEPARATED not in environ


def account(user: str) -> pwd.struct_passwd:
    """The account of the web tier. Raises ConfigInvalid."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise _wrong("there is no such user on this machine") from None
    if not found.pw_uid:
        raise _wrong("must not be root: that is whom the web tier is to be separated from")
    return found


def separate(settings: Settings, environ: Mapping[str, str]) -> NoReturn:
    """Start the keeper (not in split mode), then execute this process anew as the user of the web tier.

    Only for gunicorn's master, before it has a thread. Raises ConfigInvalid, also when that user could reach what the
    separation is to keep from it; then the process must end.
    """
    user = account(settings.web_user)
    if os.geteuid() != 0:
        raise _wrong("only root can start the web tier as another user; start the gateway as root, or unset it")
    channel = ""
    if not settings.split:
        load(settings.config_dir)  # a broken configuration must not start anything
        channel = str(_start_keeper(environ))
    _become(user)
    if problems := _problems(settings, user.pw_name):
        raise ConfigInvalid(problems)
    argv = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, argv, web_environment(environ) | {SEPARATED: channel})  # noqa: S606  no shell, our own argv


def web_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the web tier needs of it. Whatever else there is may be a server's secret."""
    return {
        name: value for name, value in environ.items() if name in _VARIABLES or name.startswith(_FAMILIES)
    }  # fmt: skip


def _start_keeper(environ: Mapping[str, str]) -> int:
    """The web tier's end of the channel. The keeper starts nothing before it is told to, and ends with the channel."""
    ours, theirs = socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "metamcp.keeper", str(theirs.fileno())],
            env=dict(environ), pass_fds=[theirs.fileno()], start_new_session=True,
        )  # fmt: skip
    ours.set_inheritable(True)
    return ours.detach()


def _become(user: pwd.struct_passwd) -> None:
    """No group of root's stays, and no program with the setuid bit can undo it."""
    try:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except PermissionError:
        raise _wrong("the gateway may not change its user: give it CAP_SETUID and CAP_SETGID") from None
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _problems(settings: Settings, user: str) -> list[tuple[str, str]]:
    """Asked of the kernel, as the user of the web tier: what it can reach and must not, or must reach and cannot."""
    problems = [] if settings.split else _exposed_files(settings, user)
    scheme, _, engine = settings.docker_host.partition("://")
    if scheme == "unix" and os.access(engine, os.W_OK):
        problems.append(("DOCKER_HOST", f"the web tier's user {user} can use the engine's socket {engine}: close it"))
    for path in (sys.executable, os.__file__, __file__):
        if not os.access(path, os.R_OK):
            problems.append(("METAMCP_WEB_USER", f"{user} cannot read {path}: install the gateway where it can"))
    if not settings.split and not os.access(settings.state_dir.absolute().parent, os.X_OK):
        problems.append(("METAMCP_STATE_DIR", f"{user} cannot reach the link's socket in it: chmod o+x its parents"))
    return problems


def _exposed_files(settings: Settings, user: str) -> list[tuple[str, str]]:
    folder = settings.config_dir
    read = [path for path in (folder / SERVERS_FILE, folder / ALLOWLIST_FILE) if os.access(path, os.R_OK)]
    problems = [(str(path), f"the web tier's user {user} can read it: chmod o-r {path}") for path in read]
    written = [path for path in (folder, settings.state_dir) if os.access(path, os.W_OK)]
    return problems + [(str(path), _writable(user, path)) for path in written]


def _writable(user: str, path: Path) -> str:
    return f"the web tier's user {user} can write to it: chown root {path}, chmod go-w {path}"


def _wrong(text: str) -> ConfigInvalid:
    return ConfigInvalid([("METAMCP_WEB_USER", text)])
