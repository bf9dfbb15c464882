"""What servers say on their standard error: the last words of one child, and the last lines of each server, which
operators follow. Every line is masked before anybody sees it.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from metamcp.telemetry import logs

TAIL_LINES, _REST_BYTES = 50, 16 * 1024
_LINE = 2000  # characters of one line that are kept

KEPT_LINES, KEPT_BYTES = 1000, 256 * 1024
"""Of one server, over all its children."""

BURST, PER_SECOND = 64 * 1024, 64 * 1024
"""Bytes of one child that are read line by line, at once and for long. To mask 64 KiB takes 45 µs for each secret that
there is (measured): of a child that writes more, the last ``TAIL_LINES`` of each piece that comes are read, and the
others are only counted."""

Heard = Callable[[list[str], int], None]
"""(lines, how many before them were left out)"""


class StderrRing:
    """The last lines of one child, bounded in lines and bytes. ``on_lines`` hears of all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_lines: Heard = lambda _lines, _left_out: None
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        self._allowance = float(BURST)
        self._counted = clock()

    def feed(self, chunk: bytes) -> None:
        whole, end, rest = chunk.rpartition(b"\n")
        if not end:
            self._rest = (self._rest + rest)[-_REST_BYTES:]
            return
        whole, self._rest = self._rest + whole, rest[-_REST_BYTES:]
        most = KEPT_LINES if self._afford(len(whole)) else TAIL_LINES
        lines = whole.rsplit(b"\n", most)
        left_out = lines.pop(0).count(b"\n") + 1 if len(lines) > most else 0
        self._take(lines, left_out)

    def end(self) -> None:
        """Nothing more comes: what has no end of line is a line."""
        rest, self._rest = self._rest, b""
        if rest.strip():
            self._take([rest], 0)

    def tail(self, count: int = 20) -> tuple[str, ...]:
        lines = [*self._lines, *_shown([self._rest])] if self._rest.strip() else list(self._lines)
        return tuple(lines[-count:])

    def _take(self, lines: list[bytes], left_out: int) -> None:
        shown = _shown(lines)
        self._lines.extend(shown)
        self.on_lines(shown, left_out)

    def _afford(self, size: int) -> bool:
        now = self._clock()
        self._allowance = min(float(BURST), self._allowance + (now - self._counted) * PER_SECOND)
        self._counted = now
        if size > self._allowance:
            return False
        self._allowance -= size
        return True


def _shown(lines: list[bytes]) -> list[str]:
    """Masked before it is cut: half a secret is not known for one."""
    text = b"\n".join(line[-_REST_BYTES:] for line in lines).decode("utf-8", "replace")
    return [line.rstrip()[-_LINE:] for line in logs.redact(text).split("\n")]


# --- of a server, over all its children --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StderrLine:
    """``number`` grows by one with each line that the server wrote; one that is missing was left out. ``time``: Unix
    seconds. ``container``: its name, "" for a plain process. ``session``: what may be shown of it."""

    number: int
    time: float
    container: str
    session: str
    text: str


Follower = Callable[[StderrLine], None]


class _Kept:
    """Of one server."""

    def __init__(self, first: int) -> None:
        self.next = first
        self.lines: deque[StderrLine] = deque()
        self.size = 0
        self.followers: dict[Follower, Callable[[], None]] = {}

    def add(self, line: StderrLine) -> None:
        self.lines.append(line)
        self.size += sys.getsizeof(line.text)
        while len(self.lines) > KEPT_LINES or self.size > KEPT_BYTES:
            self.size -= sys.getsizeof(self.lines.popleft().text)


class StderrLog:
    """The last lines of each server that is to be kept (``keep``). Owned by the reactor's thread. ``wall``: Unix
    seconds.

    Numbers begin with the milliseconds of the clock, so that whoever comes back with the number of a former life of the
    gateway, or of a server that was away from the configuration, has seen none of what there is now."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._servers: dict[str, _Kept] = {}
        self._highest = 0

    def add(self, server: str, container: str, session: str, lines: list[str], left_out: int = 0) -> None:
        kept = self._servers.get(server)
        if kept is None:
            return  # the last words of one that is not configured any more
        kept.next += left_out
        now = round(self._wall(), 3)
        for text in lines:
            line = StderrLine(kept.next, now, container, session, text)
            kept.next += 1
            kept.add(line)
            for follower in tuple(kept.followers):
                follower(line)

    def since(self, server: str, number: int) -> list[StderrLine]:
        """Those behind ``number``, as far as they are kept; all of them for a number that has not been given."""
        kept = self._servers[server]
        seen = number if number < kept.next else 0
        return [line for line in kept.lines if line.number > seen]

    def last(self, server: str, count: int) -> list[StderrLine]:
        kept = self._servers[server].lines
        return list(kept)[max(0, len(kept) - count) :]

    def follow(self, server: str, follower: Follower, gone: Callable[[], None]) -> Callable[[], None]:
        """``follower`` hears of every line from now on, until the result is called; ``gone``: there will be none."""
        followers = self._servers[server].followers
        followers[follower] = gone

        def stop() -> None:
            followers.pop(follower, None)

        return stop

    def keep(self, servers: Collection[str]) -> None:
        """From now on lines of these, and of no others."""
        for name in self._servers.keys() - set(servers):
            former = self._servers.pop(name)
            self._highest = max(self._highest, former.next)
            for gone in tuple(former.followers.values()):
                gone()
        for name in set(servers) - self._servers.keys():
            self._servers[name] = _Kept(max(self._highest, int(self._wall() * 1000)))
