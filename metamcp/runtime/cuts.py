"""Connections to the engine that somebody between cuts for their silence, told from an engine that went away. Pure.

A socket proxy ends what is silent for as long as its time-outs say: the stream of events of a quiet engine, and the
attach and the wait of an idle server. The engine itself ends a stream only when it ends, and is then not there at once.
"""

from __future__ import annotations

CUT_HINT = (
    "A proxy between the gateway and the engine ends connections that are silent, and the servers behind them die "
    "while they are idle: raise its time-outs (in the haproxy.cfg of Tecnativa's docker-socket-proxy: timeout client "
    "and timeout server, 10m by default), or use a proxy without any."
)

_LEAST = 5.0  # seconds of silence: what ends sooner was refused, and not cut for its silence
_USUAL = (60.0, 300.0, 600.0, 3600.0)
_SAME = 1.5  # seconds by which two silences may differ


class Cuts:
    """What one subscription after the other shows. ``seconds``: of silence after which connections are cut; None as
    long as nothing shows that. Written by one thread; any may read."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._before: float | None = None

    def lost(self, silent: float) -> bool:
        """A stream ended after so many seconds of silence, and the engine was there all the same: is this news?"""
        before, self._before = self._before, silent
        usual = any(abs(silent - seconds) <= _SAME for seconds in _USUAL)
        again = before is not None and abs(silent - before) <= _SAME
        if silent < _LEAST or not (usual or again):
            return False
        news = self.seconds is None or abs(self.seconds - silent) > _SAME
        self.seconds = silent
        return news

    def engine_was_away(self) -> None:
        """So the stream ended with it."""
        self._before = None
