"""Threads that come with the work and go with it: for work that waits long and comes in bursts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from metamcp.concurrency.tasks import Job
from metamcp.telemetry import logs

_log = logs.get("concurrency.crew")


class Crew:
    """At most ``most`` threads, none while there is nothing to do; jobs begin in their order. ``on_idle`` is called
    on the last thread before ``busy`` becomes False, so it must not block or ask this crew anything. A job's
    exception is logged and ends only that job."""

    def __init__(self, name: str, most: int, queue_size: int, on_idle: Callable[[], None]) -> None:
        self.name = name
        self.limit = queue_size
        self._most = most
        self._on_idle = on_idle
        self._jobs: deque[Job] = deque()
        self._running = 0
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        with self._lock:
            return self._running > 0

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun."""
        return len(self._jobs)

    def submit(self, job: Job) -> bool:
        """Begin or queue ``job``; False when the queue is full. Never blocks."""
        with self._lock:
            if len(self._jobs) >= self.limit:
                return False
            self._jobs.append(job)
            hire = self._running < self._most
            self._running += hire
        if hire:
            threading.Thread(target=self._run, name=self.name, daemon=True).start()
        return True

    def drop(self) -> None:
        """Forget what has not begun; what runs ends by itself."""
        with self._lock:
            self._jobs.clear()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001  the thread runner
                _log.exception("job-failed")

    def _next(self) -> Job | None:
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._running -= 1
            if self._running == 0:
                self._on_idle()
        return None
