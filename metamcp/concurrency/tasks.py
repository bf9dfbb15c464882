"""Named threads for work that blocks. Every thread has a name and an end."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

from metamcp.telemetry import logs

Job = Callable[[], None]

_log = logs.get("concurrency.tasks")


class Share:
    """A bounded part of ``workers`` that have more to do than this: at most ``most`` jobs wait or run."""

    def __init__(self, workers: Workers, most: int) -> None:
        self._workers = workers
        self._free = threading.Semaphore(most)

    def submit(self, job: Job) -> bool:
        """As ``Workers.submit``."""
        if not self._free.acquire(blocking=False):
            return False

        def run() -> None:
            try:
                job()
            finally:
                self._free.release()

        taken = self._workers.submit(run)
        if not taken:
            self._free.release()
        return taken


class Workers:
    """A fixed number of threads and a bounded queue. A job's exception is logged and ends only that job."""

    def __init__(self, name: str, threads: int, queue_size: int = 1024) -> None:
        self.name = name
        self.limit = queue_size
        self._queue: queue.Queue[Job | None] = queue.Queue(queue_size)
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun."""
        return self._queue.qsize()

    def submit(self, job: Job) -> bool:
        """Queue ``job``; False when the queue is full (the caller refuses its own client then). Never blocks."""
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Finish what is queued, then end the threads; each is waited for at most ``timeout`` seconds, and left
        behind when its job does not end."""
        for _ in self._threads:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=timeout)
        for thread in self._threads:
            thread.join(timeout)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001  the thread runner
                _log.exception("job-failed")
