"""JSON files of the operator: read with duplicate keys noticed, and problems named by their path in the file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from metamcp.errors import ConfigInvalid

Part = str | int
Problem = tuple[tuple[Part, ...], str]

DOCUMENT = "(document)"  # the path of a problem that concerns the whole file
OWN = None  # in marshmallow's messages: no key of JSON can be taken for it
MAX_SHOWN = 80
TWICE = "is written more than once: keep one"

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_$-]{1,80}")
_STRING_OR_CONSTANT = re.compile(r'"(?:\\.|[^"\\])*"|NaN|-?Infinity', re.DOTALL)


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys were written twice."""

    repeated: tuple[str, ...] = ()


class _NotJSON(ValueError):
    pass


def read_json(text: str) -> tuple[Any, list[Problem]]:
    """The document and its duplicate keys. Raises ConfigInvalid with line and column when it is not JSON."""
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as broken:
        raise _syntax_error(f"line {broken.lineno} column {broken.colno}: not JSON: {broken.msg}") from None
    except _NotJSON:
        raise _syntax_error(f"{_place_of_constant(text)}: NaN and Infinity are not JSON") from None
    except RecursionError:
        raise _syntax_error("not usable: nested too deeply") from None
    except ValueError:
        raise _syntax_error("not usable: a number has too many digits") from None
    return document, list(_repeated_keys(document))


def show_path(parts: Sequence[Part]) -> str:
    """``("servers", 2, "command")`` → ``servers[2].command``; keys that are not plain words are quoted."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(shortened(part))}]"
    return text or DOCUMENT


def config_invalid(document: Any, problems: Iterable[Problem]) -> ConfigInvalid:
    """All problems as one error, in the order of the file."""
    keys: dict[int, dict[str, int]] = {}
    ordered = sorted(problems, key=lambda problem: _position(document, problem[0], keys))
    return ConfigInvalid([(show_path(parts), text) for parts, text in ordered])


def flatten(messages: Any, parts: tuple[Part, ...] = ()) -> Iterator[Problem]:
    """Problems from marshmallow's nested messages, where OWN, or ``_schema`` with a list, stands for the object."""
    if not isinstance(messages, dict):
        yield from ((parts, str(text)) for text in messages)
        return
    for key, below in messages.items():
        own = key is OWN or (key == "_schema" and isinstance(below, list))
        yield from flatten(below, parts if own else (*parts, key))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean "…"?)`` or the empty string."""
    folded = {name.lower(): name for name in known}
    close = get_close_matches(word[:MAX_SHOWN].lower(), list(folded), n=1)
    return f' (did you mean "{folded[close[0]]}"?)' if close else ""


def shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _syntax_error(text: str) -> ConfigInvalid:
    return ConfigInvalid([(DOCUMENT, text)])


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        made.repeated = tuple(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJSON(name)


def _place_of_constant(text: str) -> str:
    found = (match for match in _STRING_OR_CONSTANT.finditer(text) if not match[0].startswith('"'))
    at = next((match.start() for match in found), 0)
    return f"line {text.count(chr(10), 0, at) + 1} column {at - text.rfind(chr(10), 0, at)}"


def _repeated_keys(document: Any) -> Iterator[Problem]:
    """Without recursion: a document may be nested as deeply as the JSON reader allows."""
    todo: list[tuple[tuple[Part, ...], Any]] = [((), document)]
    while todo:
        parts, value = todo.pop()
        if isinstance(value, _Object):
            yield from (((*parts, key), TWICE) for key in value.repeated)
        below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        todo.extend(((*parts, key), item) for key, item in below if isinstance(item, (dict, list)))


def _position(document: Any, parts: Sequence[Part], keys: dict[int, dict[str, int]]) -> tuple[int, ...]:
    """Where in the file a path is; a key that is missing counts as the end of its object."""
    place = []
    for part in parts:
        if isinstance(document, dict):
            order = keys.setdefault(id(document), {}) or {key: at for at, key in enumerate(document)}
            keys[id(document)] = order
            place.append(order.get(str(part), len(order)))
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int) and part < len(document):
            place.append(part)
            document = document[part]
    return tuple(place)
