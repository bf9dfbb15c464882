"""Structured log lines: an event's name and its fields, as text or JSON, with secrets taken out.

    log = logs.get("runtime.child")
    log.info("child-born", extra=logs.fields(server="git", pid=4711))
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote

_ROOT = "metamcp"
_MASK = "***"
_MIN_SECRET = 4  # shorter values occur in ordinary words; masking them would only make lines unreadable
MOST_PAST = 200
_MIN_LINE = 8  # of a value with several lines, as a key is: servers print it line by line


def get(name: str) -> logging.Logger:
    """The logger of one file, below the product's root logger."""
    return logging.getLogger(f"{_ROOT}.{name}")


def fields(**values: Any) -> dict[str, Any]:
    """``extra`` for a log call. None means: not known, so not shown."""
    return {"fields": {key: value for key, value in values.items() if value is not None}}


class Redactor:
    """Knows the values that must never be shown, and what stands for each of them."""

    def __init__(self, mask: str = _MASK) -> None:
        self._mask = mask
        self._secrets: tuple[str, ...] = ()
        self._lasting: frozenset[str] = frozenset()
        self._held: Counter[str] = Counter()
        self._past: dict[str, None] = {}  # the longest unused first
        self._forms: dict[str, set[str]] = {}  # of what is held or past
        self._adding = threading.Lock()  # servers start on several threads at once

    def add(self, values: Iterable[str]) -> None:
        """Each value as it is, line by line, and as it looks once somebody has quoted it. The longest comes first:
        a secret that contains another one is then masked whole."""
        whole = {value for value in values if len(value) >= _MIN_SECRET}
        lines = {line.strip() for value in whole for line in value.splitlines()}
        found = {form for part in whole | {line for line in lines if len(line) >= _MIN_LINE} for form in _forms(part)}
        with self._adding:
            self._lasting |= found
            self._sort()

    def hold(self, values: Iterable[str]) -> None:
        """Values that clients sent, of which there is no end: known until they are let go as often, and a while."""
        with self._adding:
            for value in values:
                if len(value) >= _MIN_SECRET:
                    self._held[value] += 1
                    self._past.pop(value, None)
                    self._forms.setdefault(value, _forms(value))
            self._sort()

    def let_go(self, values: Iterable[str]) -> None:
        """The last ``MOST_PAST`` stay known: somebody may still have to say something about them."""
        with self._adding:
            for value in values:
                if self._held[value] <= 1:
                    del self._held[value]
                    if value in self._forms:
                        self._past[value] = None
                else:
                    self._held[value] -= 1
            while len(self._past) > MOST_PAST:
                oldest = next(iter(self._past))
                del self._past[oldest], self._forms[oldest]
            self._sort()

    def _sort(self) -> None:
        self._secrets = tuple(sorted(self._lasting.union(*self._forms.values()), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, self._mask)
        return text


def _forms(value: str) -> set[str]:
    """As JSON, Python and a URL write it: the log's own formatter, and servers that repeat what they were given."""
    quoted = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1], quote(value, "")}
    return quoted | {value}


redact = Redactor()
"""Shared by every handler of this process."""


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Any] = dict(getattr(record, "fields", {}))
        if record.exc_info:
            values["error"] = self.formatException(record.exc_info)
        return redact(self.line(record, values))

    def line(self, record: logging.LogRecord, values: dict[str, Any]) -> str:
        raise NotImplementedError


class _Text(_Formatter):
    def line(self, record: logging.LogRecord, values: dict[str, Any]) -> str:
        shown = " ".join(f"{key}={_plain(value)}" for key, value in values.items())
        return f"{_stamp(record)} {record.levelname.lower():7} {record.getMessage()} {shown}".rstrip()


class _Json(_Formatter):
    def line(self, record: logging.LogRecord, values: dict[str, Any]) -> str:
        head = {"time": _stamp(record), "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(head | {"logger": record.name} | values, default=str)


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Send the product's log to ``stream`` (standard error). ``style`` is ``text`` or ``json``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False


def _stamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _plain(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and text and not any(char in text for char in ' "=') else json.dumps(text)
