"""``${…}`` as clients write it, and what it is here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metamcp.config import secrets
from metamcp.config.importing.outcome import Notes

_FOREIGN = re.compile(r"(?<!\$)\$\{(env|input):([A-Za-z_][\w.-]*)\}", re.ASCII)
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)|%([A-Za-z_][A-Za-z0-9_]*)%")
_OF_CLIENT = re.compile(
    r"(?<!\$)\$\{(workspaceFolder|workspaceFolderBasename|userHome|pathSeparator|cwd|file|CLAUDE_PROJECT_DIR"
    r"|CLAUDE_PLUGIN_ROOT|CLAUDE_PLUGIN_DATA)\}"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """``inputs``: what VS Code takes where nobody answers its question, by the question's id. ``bare``: ``$NAME``
    is a variable, too, as Gemini has it."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    bare: bool = False


def ours(place: str, value: Any, dialect: Dialect, notes: Notes) -> Any:
    """``${env:NAME}`` and ``${input:NAME}`` are ``${NAME}``. What is no variable here is what it says, literally."""
    if isinstance(value, list):
        return [ours(f"{place}[{at}]", item, dialect, notes) for at, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {name: ours(f"{place}.{name}", item, dialect, notes) for name, item in value.items()}
    return _text(place, value, dialect, notes) if isinstance(value, str) else value


def _text(place: str, text: str, dialect: Dialect, notes: Notes) -> str:
    if dialect.bare and (bare := _BARE.fullmatch(text)):
        notes.changed.append((place, "is a variable there: it is written ${NAME} here"))
        return f"${{{bare[1] or bare[2]}}}"
    made = _FOREIGN.sub(lambda found: _variable(found, dialect), text)
    if secrets.template_problem(made):
        notes.changed.append((place, "a ${…} that means nothing here is taken literally: $${…}"))
        return re.sub(r"\$+\{", "$${", made)
    if found := _OF_CLIENT.search(made):
        notes.left_out.append((place, f"what ${{{found[1]}}} is only the client knows: write it out"))
    return made


def _variable(found: re.Match[str], dialect: Dialect) -> str:
    """A default that cannot stand in ``${…}`` is left to the operator."""
    default = dialect.inputs.get(found[2], "") if found[1] == "input" else ""
    usual = f":-{default}" if default and not re.search(r"\$\{|\}", default) else ""
    return f"${{{re.sub('[.-]', '_', found[2])}{usual}}}"
