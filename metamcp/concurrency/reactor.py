"""One thread that waits for many descriptors and timers at once (the reactor pattern, on Linux's epoll).

The supervisor's whole state (sessions, catalog, pools, children) is owned by this thread, so none of it
needs a lock. The price is a rule: a callback never blocks. What blocks (starting a process, asking the
engine) runs on ``tasks.Workers`` and comes back through ``call_soon``.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

from metamcp.telemetry import logs

Callback = Callable[[], None]

_log = logs.get("concurrency.reactor")
_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT | select.EPOLLERR
_MAX_EVENTS = 256


class Timer:
    """A callback that waits for its time; ``cancel`` is idempotent and only for the reactor's thread."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Reactor:
    """``call_soon`` and ``stop`` may be called from any thread; everything else from the reactor's own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._soon: deque[Callback] = deque()
        self._turn_end: list[Callback] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._thread_id = 0

    # --- any thread ------------------------------------------------------------------------------------

    def call_soon(self, callback: Callback) -> None:
        """Run ``callback`` on the reactor's thread, in the order of the calls."""
        self._soon.append(callback)
        if threading.get_ident() != self._thread_id:
            self.wake()

    def wake(self) -> None:
        """End the present wait. After ``call_soon`` in a signal handler, which runs within the wait itself."""
        os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """End ``run`` after the present turn."""
        self.call_soon(self._mark_stopping)

    def start(self, name: str = "reactor") -> None:
        """Run on a thread of its own (embedded mode, tests)."""
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stop, join the thread that ``start`` made, and free the descriptors."""
        if self._thread is not None:
            self.stop()
            self._thread.join(timeout)
        self._epoll.close()
        os.close(self._wake_fd)

    # --- the reactor's thread --------------------------------------------------------------------------

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        timer = Timer(self.clock() + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def call_every(self, seconds: float, callback: Callback) -> None:
        """Run ``callback`` every ``seconds`` until the reactor ends."""

        def again() -> None:
            self.call_later(seconds, again)
            callback()

        self.call_later(seconds, again)

    def at_turn_end(self, callback: Callback) -> None:
        """Run once after all events of this turn: the place where writes of one turn become one system call."""
        self._turn_end.append(callback)

    def watch_read(self, fd: int, callback: Callback) -> None:
        self._readers[fd] = callback
        self._update(fd)

    def watch_write(self, fd: int, callback: Callback | None) -> None:
        """Call back while ``fd`` can be written; None ends it."""
        if callback is None:
            self._writers.pop(fd, None)
        else:
            self._writers[fd] = callback
        self._update(fd)

    def forget(self, fd: int) -> None:
        """Must precede the closing of ``fd``."""
        self._readers.pop(fd, None)
        self._writers.pop(fd, None)
        self._update(fd)

    def _update(self, fd: int) -> None:
        mask = (_READ if fd in self._readers else 0) | (_WRITE if fd in self._writers else 0)
        try:
            if mask:
                self._epoll.modify(fd, mask)
            else:
                self._epoll.unregister(fd)
        except FileNotFoundError:
            if mask:
                self._epoll.register(fd, mask)

    # --- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until ``stop``: wait, then events, calls, timers and the ends of the turn, in this order."""
        self._thread_id = threading.get_ident()
        while not self._stopping:
            for fd, mask in self._epoll.poll(self._patience(), _MAX_EVENTS):
                self._dispatch(fd, mask)
            self._run_soon()
            self._run_timers()
            self._run_turn_end()

    def _patience(self) -> float:
        if self._soon or self._turn_end:
            return 0
        if not self._timers:
            return 60.0
        return max(0.0, self._timers[0][0] - self.clock())

    def _dispatch(self, fd: int, mask: int) -> None:
        if fd == self._wake_fd:
            os.eventfd_read(fd)
            return
        if mask & _READ and (reader := self._readers.get(fd)):
            self._guarded(reader)
        if mask & _WRITE and (writer := self._writers.get(fd)):
            self._guarded(writer)

    def _run_soon(self) -> None:
        for _ in range(len(self._soon)):
            self._guarded(self._soon.popleft())

    def _run_timers(self) -> None:
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                self._guarded(callback)

    def _run_turn_end(self) -> None:
        while self._turn_end:
            batch, self._turn_end = self._turn_end, []
            for callback in batch:
                self._guarded(callback)

    def _guarded(self, callback: Callback) -> None:
        # The thread runner: one broken callback must not end the service for all others.
        try:
            callback()
        except Exception:  # noqa: BLE001
            _log.exception("callback-failed")

    def _mark_stopping(self) -> None:
        self._stopping = True
