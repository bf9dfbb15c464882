"""Which tools fit what somebody wants to have done: full-text search over one view's tools, with SQLite's FTS5.

A word of the query counts by BM25 where the tool says it, in any inflection, and less where it says a word that means
about the same (``thesaurus.txt``). Names count as the words they are made of.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from metamcp.protocol.jsonrpc import JsonObject

_THESAURUS = Path(__file__).with_name("thesaurus.txt")
_WEIGHTS = (3.0, 3.0, 2.0, 0.5)
"""Of the columns: the server's name, the tool's name and title, its description, its arguments."""

_KIN, _DISTANT = 0.7, 0.6
"""What a word of the same group counts, and how much less where it was not the first of its group."""

_BREADTH = 0.3  # exponent of the part of the query's words that a tool has anything of
_MAX_WORDS = 32  # of a query that count
_MAX_TEXT = 4000  # characters of a column that count

_SEAMS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_")
_WORD = re.compile(r"\w+")
_EMPTY = frozenset(re.findall(
    r"\w+",
    "a also an and any are as at be been both but by can could did do does each even ever every for from had has "
    "have he her him his how i if in into is it its just let may me might must my not of on only or our please "
    "shall she should so some somebody someone something such than that the their them then there these they "
    "this those though to too us very want wanted wants was we were what when which while who whom why will with "
    "would yet you your",
))  # fmt: skip
"""Words that say nothing about what is wanted."""

_SCORES = "SELECT rowid, -bm25(tools, ?, ?, ?, ?) FROM tools WHERE tools MATCH ?"
_TABLES = """
CREATE VIRTUAL TABLE tools USING fts5(server, name, description, arguments, tokenize = 'porter unicode61');
CREATE VIRTUAL TABLE kin USING fts5(words, tokenize = 'porter unicode61');
"""


class ToolIndex:
    """``tools``: for each its server and its body as it is listed, which it keeps. Building takes some ms, so it is
    done by the first search; searches run on any thread, but only one at a time."""

    def __init__(self, tools: Sequence[tuple[str, JsonObject]]) -> None:
        self._tools = tools
        self._database: sqlite3.Connection | None = None

    def best(self, query: str, limit: int) -> list[JsonObject]:
        """The bodies of at most ``limit`` tools, the best one first; none where no word of ``query`` means
        anything here."""
        database = self._database = self._database or _build(self._tools)
        words = list(dict.fromkeys(word for word in _words(query) if word not in _EMPTY))[:_MAX_WORDS]
        total: dict[int, float] = {}
        hits: dict[int, int] = {}
        for word in words:
            for row, score in _of_word(database, word).items():
                total[row] = total.get(row, 0.0) + score
                hits[row] = hits.get(row, 0) + 1
        ranked = sorted(total, key=lambda row: (-total[row] * (hits[row] / len(words)) ** _BREADTH, row))
        return [self._tools[row - 1][1] for row in ranked[:limit]]


def _of_word(database: sqlite3.Connection, word: str) -> dict[int, float]:
    """What ``word`` is worth for each tool that says it, or something near it."""
    near: dict[int, float] = {}
    for other, closeness in _kin(database, word).items():
        for row, score in _scores(database, other).items():
            near[row] = max(near.get(row, 0.0), _KIN * closeness * score)
    said = _scores(database, word)
    return {row: max(said.get(row, 0.0), near.get(row, 0.0)) for row in said.keys() | near.keys()}


def _kin(database: sqlite3.Connection, word: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for mark, closeness in (("", _DISTANT), ("^", 1.0)):
        for (group,) in database.execute("SELECT words FROM kin WHERE kin MATCH ?", (f'{mark}"{word}"',)):
            found |= dict.fromkeys(_WORD.findall(group), closeness)
    return found


def _scores(database: sqlite3.Connection, word: str) -> dict[int, float]:
    return dict(database.execute(_SCORES, (*_WEIGHTS, f'"{word}"')).fetchall())


def _build(tools: Sequence[tuple[str, JsonObject]]) -> sqlite3.Connection:
    # One search at a time, but the last reference may go on another thread.
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.executescript(_TABLES)
    database.executemany("INSERT INTO kin VALUES (?)", ((group,) for group in groups()))
    database.executemany("INSERT INTO tools VALUES (?, ?, ?, ?)", (_columns(*tool) for tool in tools))
    return database


def groups() -> list[str]:
    """Lines of words that mean about the same."""
    return [line for line in _THESAURUS.read_text("utf-8").splitlines() if not line.startswith("#")]


def _columns(server: str, body: JsonObject) -> tuple[str, ...]:
    name = _text(body, "name").removeprefix(f"{server}__")
    texts = (server, f"{name} {_text(body, 'title')}", _text(body, "description"), _arguments(body))
    return tuple(" ".join(_words(text[:_MAX_TEXT])) for text in texts)


def _arguments(body: JsonObject) -> str:
    """Names and descriptions of the arguments, as far as the schema is one."""
    schema = _decoded(body, "inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return ""
    said = [property_.get("description", "") for property_ in properties.values() if isinstance(property_, dict)]
    return " ".join([*properties, *(text for text in said if isinstance(text, str))])


def _text(body: JsonObject, member: str) -> str:
    found = _decoded(body, member)
    return found if isinstance(found, str) else ""


def _decoded(body: JsonObject, member: str) -> object:
    """None also for what is nested too deeply."""
    try:
        found: object = json.loads(bytes(body.get(member, b"null")))
    except (ValueError, RecursionError):
        return None
    return found


def _words(text: str) -> Iterable[str]:
    return (word.lower() for word in _WORD.findall(_SEAMS.sub(" ", text)))
