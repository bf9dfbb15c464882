"""The supervisor process: its main loop, its signals, its end."""

from __future__ import annotations

import gc
import os
import signal

from metamcp.access import keyfile
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.factory.core import Core, build_core
from metamcp.keeper import PARENT_VARIABLE
from metamcp.link.server import LinkServer
from metamcp.separation import account
from metamcp.telemetry import logs

_STOP_SECONDS = 9.0
_GC_OBJECTS = 10_000  # more than now are made than freed, before the youngest are looked at (Python: 700)

_log = logs.get("supervision")


def run(settings: Settings) -> int:
    """Serve the link until SIGTERM, SIGINT, or the death of the parent; SIGHUP reloads the configuration. Returns the
    exit status.

    Raises ConfigInvalid.
    """
    _take_no_reload()
    core = build_core(settings)
    link = core.measurement.gauges.link = LinkServer(core.reactor, settings.link, core.router.open)
    _open_link(link, settings)
    ending = _Ending(core)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: ending.begin(signal.Signals(got).name))
    signal.signal(signal.SIGHUP, lambda _got, _frame: _reload(core))
    parent = _watch_parent(core, ending)
    _relieve_gc()
    _log.info("supervisor-ready", extra=logs.fields(pid=os.getpid(), link=settings.link))
    core.reactor.run()
    link.close()
    if parent >= 0:
        os.close(parent)
    core.close()
    _log.info("supervisor-ended", extra=logs.fields(pid=os.getpid()))
    return 0


def _relieve_gc() -> None:
    """What is there now lives to the end, and what a call needs is freed by its last reference: to look for cycles each
    30 calls finds none. They are looked for all the same, where they could amount to something."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS)


def _open_link(link: LinkServer, settings: Settings) -> None:
    """For ourselves alone, or for one group. A web tier of another user may go through the state directory to the
    socket and to the hashes of keys, and see nothing else there."""
    group = account(settings.web_user).pw_gid if settings.web_user else -1
    try:
        if settings.web_user and not settings.split:
            os.chown(settings.state_dir, -1, group)
            settings.state_dir.chmod(0o710)
            keyfile.open_to(settings.state_dir, group)
        link.start(0o660 if settings.split or settings.web_user else 0o600, group)
    except PermissionError as refused:
        text = f"the group {group} of the web tier cannot be given {refused.filename}: start as root or in that group"
        raise ConfigInvalid([("METAMCP_WEB_USER", text)]) from None


def _take_no_reload() -> None:
    """Until the configuration has been read a SIGHUP asks for nothing new. The keeper starts us with the signal held
    back, for its default is to end the process; no thread of ours and no server may inherit that."""
    signal.signal(signal.SIGHUP, lambda _got, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _reload(core: Core) -> None:
    """From a signal handler: hand over to the reactor's next turn."""
    core.reactor.call_soon(lambda: core.reloader.request("SIGHUP"))
    core.reactor.wake()


class _Ending:
    """Ends the process once, however often it is told to."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._begun = False

    def begin(self, reason: str) -> None:
        """From a signal handler or the reactor: hand over to the reactor's next turn."""
        self._core.reactor.call_soon(lambda: self._begin(reason))
        self._core.reactor.wake()

    def _begin(self, reason: str) -> None:
        if self._begun:
            return
        self._begun = True
        children = len(self._core.supervisor.children)
        _log.info("supervisor-stopping", extra=logs.fields(reason=reason, children=children))
        self._core.reactor.call_later(_STOP_SECONDS, self._core.reactor.stop)
        self._core.stop(self._core.reactor.stop)


def _watch_parent(core: Core, ending: _Ending) -> int:
    """A descriptor that shows the parent's death, or -1 when there is no parent to watch."""
    pid = int(os.environ.get(PARENT_VARIABLE, "0"))
    if not pid:
        return -1
    if os.getppid() != pid:
        ending.begin("the parent is gone")
        return -1
    descriptor = os.pidfd_open(pid)

    def gone() -> None:
        core.reactor.forget(descriptor)
        ending.begin("the parent is gone")

    core.reactor.watch_read(descriptor, gone)
    return descriptor
