"""Leaving root: how the web tier becomes a process that could not tell a secret, whatever is done to it.

gunicorn's own ``user`` is not enough: its workers are forks of the master, so they hold whatever the master has read,
and ``/proc/<pid>/environ`` shows what the master was started with. Here the whole of gunicorn is executed anew, as the
user of the web tier, without groups and with the few variables that it needs; nothing survives that but a channel to
the keeper (``keeper.py``), which stays root or becomes the user of the supervisor.

As a program (``python -m metamcp.separation COMMAND …``) it does that first and then becomes COMMAND, for an init
process that must not stay root either: the container image begins with it.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socketpair
from typing import Any, NoReturn

from metamcp.config.engine_address import locate
from metamcp.config.loader import ALLOWLIST_FILE, SERVERS_FILE, load
from metamcp.config.settings import WEB_VARIABLES, Settings
from metamcp.errors import ConfigInvalid

WEB_USER, SUPERVISOR_USER = "METAMCP_WEB_USER", "METAMCP_SUPERVISOR_USER"
SEPARATED = "METAMCP_SEPARATED"
"""Set for the web tier once it is on its own: the descriptor of the channel, or empty in split mode."""

VARIABLES = {*WEB_VARIABLES, "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS", "LANG", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"}
_FAMILIES = ("LC_", "OTEL_", "PYTHON")
_NO_NEW_PRIVILEGES = 38  # prctl(2)


@dataclass(frozen=True, slots=True)
class _Own:
    """As whom the supervisor runs."""

    account: pwd.struct_passwd
    groups: tuple[int, ...]

    def may_read(self, found: os.stat_result) -> bool:
        """By the mode of a file alone; the folders above it are asked when it is opened."""
        if found.st_uid == self.account.pw_uid:
            return bool(found.st_mode & stat.S_IRUSR)
        member = found.st_gid in (self.account.pw_gid, *self.groups)
        return bool(found.st_mode & (stat.S_IRGRP if member else stat.S_IROTH))


def needed(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether this process is to be separated, and is not yet."""
    return bool(settings.web_user) and SEPARATED not in environ


def account(user: str, variable: str = WEB_USER) -> pwd.struct_passwd:
    """An account that is not root's. Raises ConfigInvalid, for ``variable``."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise _wrong("there is no such user on this machine", variable) from None
    if not found.pw_uid:
        raise _wrong("must not be root: that is whom it is to be separated from", variable)
    return found


def separate(settings: Settings, environ: Mapping[str, str], command: Sequence[str] = ()) -> NoReturn:
    """Start the keeper (not in split mode), then execute ``command`` as the user of the web tier; without one, this
    process anew.

    Only for gunicorn's master or what becomes it, before it has a thread. Raises ConfigInvalid, also when that user
    could reach what the separation is to keep from it; then the process must end.
    """
    user = account(settings.web_user)
    if os.geteuid() != 0:
        raise _wrong("only root can start the web tier as another user; start the gateway as root, or unset it")
    channel, engine = "", _engine_socket(_supervisors_environ(settings, environ))
    if not settings.split:
        own = _supervisors_own(settings, user, engine)
        load(settings.config_dir)  # a broken configuration must not start anything
        channel = str(_start_keeper(_supervisors_environ(settings, environ), own))
    _become(user)
    if problems := _problems(settings, user.pw_name, engine):
        raise ConfigInvalid(problems)
    argv = [*command] or [sys.executable, *sys.orig_argv[1:]]
    os.execvpe(argv[0], argv, web_environment(environ) | {SEPARATED: channel})  # noqa: S606  no shell


def become_supervisor(settings: Settings, environ: MutableMapping[str, str]) -> None:
    """An operator's command that root gives may and sees what the supervisor may and sees, and what it writes is the
    supervisor's. Nothing to do for any other user, and where the supervisor is root. Raises ConfigInvalid."""
    if not settings.supervisor_user or os.geteuid() != 0:
        return
    environ["HOME"] = account(settings.supervisor_user, SUPERVISOR_USER).pw_dir
    own = _own(settings, account(settings.web_user), _engine_socket(environ))
    _become(own.account, own.groups)


def web_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the web tier needs of it. Whatever else there is may be a server's secret."""
    return {
        name: value for name, value in environ.items() if name in VARIABLES or name.startswith(_FAMILIES)
    }  # fmt: skip


def _supervisors_environ(settings: Settings, environ: Mapping[str, str]) -> Mapping[str, str]:
    """HOME is where the docker command, its contexts and ssh look for what is the user's. Raises ConfigInvalid."""
    if not settings.supervisor_user or settings.split:
        return environ
    return {**environ, "HOME": account(settings.supervisor_user, SUPERVISOR_USER).pw_dir}


def _own(settings: Settings, web: pwd.struct_passwd, engine: Path | None) -> _Own:
    """The supervisor's groups: those that root has here (``group_add`` of Compose), the one of the engine's socket, and
    the web tier's, to which it gives the link. Raises ConfigInvalid."""
    found = account(settings.supervisor_user, SUPERVISOR_USER)
    if found.pw_uid == web.pw_uid:
        raise _wrong("must be another user than the web tier's", SUPERVISOR_USER)
    groups = {*os.getgroups(), *os.getgrouplist(found.pw_name, found.pw_gid), web.pw_gid, _socket_group(engine)}
    return _Own(found, tuple(sorted(groups - {0})))


def _supervisors_own(settings: Settings, web: pwd.struct_passwd, engine: Path | None) -> _Own | None:
    """None where it stays root. Raises ConfigInvalid, also for what that user could not use."""
    if not settings.supervisor_user:
        return None
    own = _own(settings, web, engine)
    if problems := _supervisors_problems(settings, own):
        raise ConfigInvalid(problems)
    if not settings.state_dir.exists():
        settings.state_dir.mkdir(mode=0o700, parents=True)
        os.chown(settings.state_dir, own.account.pw_uid, own.account.pw_gid)
    return own


def _socket_group(engine: Path | None) -> int:
    try:
        found = engine.stat() if engine is not None else None
    except OSError:
        return 0  # it may come later; the diagnostics say what is wrong then
    return found.st_gid if found is not None and found.st_mode & stat.S_IWGRP else 0


def _engine_socket(environ: Mapping[str, str]) -> Path | None:
    """None where the engine is not at a socket of this machine. Raises ConfigInvalid."""
    scheme, _, path = locate(environ).host.partition("://")
    return Path(path) if scheme == "unix" else None


def _supervisors_problems(settings: Settings, own: _Own) -> list[tuple[str, str]]:
    name, group = own.account.pw_name, grp.getgrgid(own.account.pw_gid).gr_name
    files = (settings.config_dir / SERVERS_FILE, settings.config_dir / ALLOWLIST_FILE)
    problems = [
        (str(path), f"the supervisor's user {name} cannot read it: chgrp {group} {path}, chmod g+r {path}")
        for path in files if path.exists() and not own.may_read(path.stat())
    ]  # fmt: skip
    if settings.state_dir.exists() and settings.state_dir.stat().st_uid != own.account.pw_uid:
        problems.append(
            (str(settings.state_dir), f"it belongs to another user: chown -R {name}:{group} {settings.state_dir}")
        )
    return problems


def _start_keeper(environ: Mapping[str, str], own: _Own | None) -> int:
    """The web tier's end of the channel. The keeper starts nothing before it is told to, and ends with the channel."""
    become: dict[str, Any] = {}
    if own is not None:
        become = {"user": own.account.pw_uid, "group": own.account.pw_gid, "extra_groups": own.groups}
    ours, theirs = socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "metamcp.keeper", str(theirs.fileno())],
            env=dict(environ), pass_fds=[theirs.fileno()], start_new_session=True, **become,
        )  # fmt: skip
    ours.set_inheritable(True)
    return ours.detach()


def _become(user: pwd.struct_passwd, groups: Sequence[int] = ()) -> None:
    """No group of root's stays but ``groups``, and no program with the setuid bit can undo it."""
    try:
        os.setgroups(groups)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except PermissionError:
        raise _wrong("the gateway may not change its user: give it CAP_SETUID and CAP_SETGID") from None
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _problems(settings: Settings, user: str, engine: Path | None) -> list[tuple[str, str]]:
    """Asked of the kernel, as the user of the web tier: what it can reach and must not, or must reach and cannot."""
    problems = [] if settings.split else _exposed_files(settings, user)
    if engine is not None and os.access(engine, os.W_OK):
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


def _wrong(text: str, variable: str = WEB_USER) -> ConfigInvalid:
    return ConfigInvalid([(variable, text)])


def main() -> NoReturn:
    """``python -m metamcp.separation COMMAND …``. Exit status 2 with every mistake of the configuration, 127 when there
    is no such command."""
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: python -m metamcp.separation COMMAND …")
    try:
        settings = Settings.from_env(os.environ)
        if needed(settings, os.environ):
            separate(settings, os.environ, command)
        os.execvp(command[0], command)  # noqa: S606  no shell
    except ConfigInvalid as error:
        sys.stderr.write(error.report() + "\n")
        sys.exit(error.exit_status)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main()
