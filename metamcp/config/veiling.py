"""What operators wrote, as it may be shown to them again: ``***`` in the place of what stands there in clear and is, or
may be, a secret. References (``${NAME}``) are shown; and whoever sends ``***`` back means what stood there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from metamcp.config.document import Part, Problem
from metamcp.config.secrets import only_references, sounds_secret

VEIL = "***"

_NAMED = {"env": False, "headers": True}
"""Objects of texts by name: may every one of them be a secret, or those whose names say so?"""

_WORDS = frozenset({"args", "command"})  # of a server, of a scanner
_PAIR = re.compile(r"(?P<name>[^=:\s]{1,100})(?P<between>=|: )(?P<value>.+)", re.DOTALL)
_PASSWORD = re.compile(r"(://[^/@\s]*?:)([^/@\s]+)(?=@)")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]{1,100})=([^&#\s]+)")
_LOOKS = re.compile(
    r"\b(?:gh[pousr]_|github_pat_|glpat-|sk-|xox[abeprs]-|AKIA|AIza|mmcp_|eyJ)[A-Za-z0-9_.-]{12,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*"
    r"|(?<!sha256:)(?<![A-Za-z0-9_-])(?=(?:[A-Za-z_-]{0,64}[0-9]){4})[A-Za-z0-9_-]{32,}",
    re.DOTALL,
)
"""Keys that are known by how they look, wherever they stand, and what is as long and as mixed as keys are; digests of
images are no secrets."""


def veiled(body: Mapping[str, Any]) -> dict[str, Any]:
    """One server, namespace, endpoint or rule. Also of what the schemas would refuse."""
    return {key: _veiled(key, value) for key, value in body.items()}


def unveiled(
    body: Mapping[str, Any], former: Mapping[str, Any], at: tuple[Part, ...] = ()
) -> tuple[dict[str, Any], list[Problem]]:
    """``body`` with what stood in ``former`` wherever it has a veil, and the places of veils behind which nothing was.
    ``at``: where the body stands."""
    made: dict[str, Any] = {}
    problems: list[Problem] = []
    shown = veiled(former)
    for key, value in body.items():
        if key in _NAMED or key in _WORDS or key == "url":
            made[key] = _unveiled(value, shown.get(key), former.get(key), (*at, key), problems)
        elif isinstance(value, dict):
            was = former.get(key)
            made[key], below = unveiled(value, was if isinstance(was, dict) else {}, (*at, key))
            problems += below
        else:
            made[key] = value
    return made, problems


def _veiled(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        if key in _NAMED:
            return {name: _of_name(name, text, _NAMED[key]) for name, text in value.items()}
        return veiled(value)
    if isinstance(value, list) and key in _WORDS:
        return [_word(word, value[at - 1] if at else "") for at, word in enumerate(value)]
    return _anywhere(value) if key == "url" and isinstance(value, str) else value


def _of_name(name: str, text: Any, always: bool) -> Any:
    if not isinstance(text, str):
        return text
    if (always or sounds_secret(name)) and not only_references(text):
        return VEIL
    return _anywhere(text)


def _word(word: Any, before: Any) -> Any:
    """Of a command line: ``--token=x``, ``TOKEN=x``, ``Authorization: x``, and what stands behind ``--token``."""
    if not isinstance(word, str):
        return word
    if isinstance(before, str) and before.startswith("-") and "=" not in before and sounds_secret(before):
        return word if only_references(word) else VEIL
    pair = _PAIR.fullmatch(word)
    if pair is None:
        return _anywhere(word)
    inner = _word(pair["value"], "") if pair["name"].startswith("-") else pair["value"]
    if sounds_secret(pair["name"]) and not only_references(pair["value"]):
        inner = VEIL
    return pair["name"] + pair["between"] + _anywhere(inner)


def _anywhere(text: str) -> str:
    def of_query(found: re.Match[str]) -> str:
        hidden = sounds_secret(found[1]) and not only_references(found[2])
        return f"{found[1]}={VEIL}" if hidden else found[0]

    def of_password(found: re.Match[str]) -> str:
        return found[0] if only_references(found[2]) else found[1] + VEIL

    return _LOOKS.sub(VEIL, _QUERY.sub(of_query, _PASSWORD.sub(of_password, text)))


def _unveiled(value: Any, shown: Any, former: Any, at: tuple[Part, ...], problems: list[Problem]) -> Any:
    if isinstance(value, dict):
        below, was = (found if isinstance(found, dict) else {} for found in (shown, former))
        return {key: _unveiled(item, below.get(key), was.get(key), (*at, key), problems) for key, item in value.items()}
    if isinstance(value, list):
        return _unveiled_words(value, shown, former, at, problems)
    if not isinstance(value, str) or VEIL not in value:
        return value
    if value == shown:
        return former
    problems.append((at, f'has {VEIL}, and no such value stood there: write the value, or "${{NAME}}"'))
    return value


def _unveiled_words(words: list[Any], shown: Any, former: Any, at: tuple[Part, ...], problems: list[Problem]) -> Any:
    """A word may have another place than before: it is the first one that looks alike and is not taken yet."""
    left = dict(enumerate(shown)) if isinstance(shown, list) else {}
    made = []
    for index, word in enumerate(words):
        veil = isinstance(word, str) and VEIL in word
        was = next((place for place, found in left.items() if found == word), None) if veil else None
        if was is None:
            made.append(_unveiled(word, None, None, (*at, index), problems))
        else:
            del left[was]
            made.append(former[was])
    return made
