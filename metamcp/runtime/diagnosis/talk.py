"""One process of a runtime for somebody who may block: on a reactor of its own, for as long as it lasts."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from metamcp.concurrency.reactor import Reactor
from metamcp.errors import MetaMCPError
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.process.interface import REFUSED, Hears, NotStarted, Process, Runtime, Start

_KILLED_SECONDS = 5.0
_MOST = 64 * 1024  # bytes of output that are kept

_Outcome = Process | NotStarted | MetaMCPError


class Talk:
    """Start what ``plan`` says within ``seconds``. Raises NotStarted, and what the runtime raises."""

    def __init__(self, runtime: Runtime, plan: LaunchPlan, seconds: float) -> None:
        self._process = _started(runtime, plan, seconds)
        self._out, self._err = b"", b""
        self._changed = threading.Condition()
        self._status: int | None = None
        self._reactor = Reactor()
        self._reactor.start("talk")
        self._reactor.call_soon(
            lambda: self._process.watch(self._reactor, Hears(self._hear_out, self._hear_err, self._ended))
        )

    @property
    def stderr(self) -> str:
        return self._err.decode("utf-8", "replace")

    def say(self, line: bytes, seconds: float) -> bytes:
        """The line that comes back for ``line``; less, and perhaps nothing, when it ends or the time is over."""
        self._reactor.call_soon(lambda: self._write(line))
        self._wait(lambda: b"\n" in self._out or self._status is not None, seconds)
        with self._changed:
            end = self._out.find(b"\n") + 1 or len(self._out)
            answer, self._out = self._out[:end], self._out[end:]
        return answer

    def finish(self, seconds: float) -> int | None:
        """End of input; the exit status, or None when it does not end in time."""
        self._reactor.call_soon(self._process.close_stdin)
        self._wait(lambda: self._status is not None, seconds)
        return self._status

    def close(self) -> None:
        """Whatever still runs is killed."""
        if self._status is None:
            self._reactor.call_soon(self._process.kill)
            self._wait(lambda: self._status is not None, _KILLED_SECONDS)
        self._reactor.close()

    def _write(self, line: bytes) -> None:
        with suppress(OSError):  # it has ended, and says why
            os.write(self._process.stdin, line)

    def _hear_out(self, chunk: bytes) -> None:
        self._change(out=chunk)

    def _hear_err(self, chunk: bytes) -> None:
        self._change(err=chunk)

    def _ended(self, status: int) -> None:
        self._process.close()
        self._change(status=status)

    def _change(self, out: bytes = b"", err: bytes = b"", status: int | None = None) -> None:
        with self._changed:
            self._out, self._err = (self._out + out)[:_MOST], (self._err + err)[:_MOST]
            self._status = status if status is not None else self._status
            self._changed.notify_all()

    def _wait(self, true: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(true, max(0.0, seconds))


def _started(runtime: Runtime, plan: LaunchPlan, seconds: float) -> Process:
    outcomes: queue.Queue[_Outcome] = queue.Queue()
    start = Start(outcomes.put, outcomes.put)
    limit = threading.Timer(seconds, start.give_up)
    limit.start()
    try:
        runtime.start(plan, start)
        outcome = outcomes.get(timeout=seconds + _KILLED_SECONDS)
    except queue.Empty:
        raise NotStarted(REFUSED, "it did not start in time (timed out)") from None
    finally:
        limit.cancel()
        limit.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
