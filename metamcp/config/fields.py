"""Field types of the configuration files: strict about types, worded for operators, never repeating a value.

A value may be a secret that slipped into the wrong place, so a message says what is expected, not what was found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from metamcp.config.document import OWN, Problem, did_you_mean, flatten
from metamcp.config.secrets import template_problem

MAX_TEXT = 128 * 1024  # Linux's limit for one argument or variable of a process

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}

Check = Callable[[str], str | None]


class Worded(fields.Field[Any]):
    """Whatever a key holds; its subclasses share the wording.

    ``doc``: the sentence of the reference (docs/configuration.md). ``shape``: what its text looks like. ``unset``:
    what happens without it, where that is no value.
    """

    default_error_messages = {  # noqa: RUF012 - marshmallow declares it as a plain attribute
        "required": "is required",
        "null": "must not be null: leave the key out for the default",
    }

    def __init__(self, *, doc: str = "", shape: str = "", unset: str = "", **kwargs: Any) -> None:
        super().__init__(metadata={"doc": doc, "shape": shape, "unset": unset}, **kwargs)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return self.read(value)

    def read(self, value: Any) -> Any:
        """The value as the records hold it. Raises ValidationError."""
        raise NotImplementedError


class Strict(Schema):
    """An object whose unknown keys are errors, with a hint."""

    error_messages = {"type": "must be an object"}  # noqa: RUF012 - likewise

    class Meta:
        unknown = "exclude"  # told by refuse_unknown_keys, which knows the other keys

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def refuse_unknown_keys(self, _data: Any, original: Any, **_: Any) -> None:
        known = key_names(type(self))
        unknown = [key for key in original if key not in known] if isinstance(original, Mapping) else []
        raise_all({key: [f"is not a known key{did_you_mean(key, known)}"] for key in unknown})


class Flag(Worded):
    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false, without quotes")
        return value


class Text(Worded):
    """``template``: ``${…}`` may stand in it and must be well formed. ``check`` gives a problem or None."""

    def __init__(
        self, *, check: Check | None = None, template: bool = False, empty: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.check, self.template, self.empty = check, template, empty

    def read(self, value: Any) -> str:
        problem = text_problem(value, self.empty) or (template_problem(value) if self.template else None)
        problem = problem or (self.check(value) if self.check else None)
        if problem:
            raise ValidationError(problem)
        return str(value)


class Number(Worded):
    """A finite number within ``low..high``; ``whole`` gives int, otherwise float."""

    def __init__(self, low: float, high: float, *, whole: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high, self.whole = low, high, whole

    def read(self, value: Any) -> float:
        kind = int if self.whole else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not self.low <= value <= self.high:
            name = "a whole number" if self.whole else "a number"
            raise ValidationError(f"must be {name} from {self.low:g} to {self.high:.15g}, without quotes")
        return int(value) if self.whole else float(value)


class Size(Worded):
    """Bytes, from a whole number or a text such as 64k, 512m, 1g. ``low`` in bytes, ``least`` as shown."""

    def __init__(self, low: int, least: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.least = low, least

    def read(self, value: Any) -> int:
        size = parse_size(value)
        if size is None:
            raise ValidationError('must be a size such as "64k", "512m", "1g", or bytes as a whole number')
        if not self.low <= size < 2**63:
            raise ValidationError(f"must be at least {self.least} (a number without a unit means bytes)")
        return size


class Choice(Worded):
    """One of ``values``; ``aliases`` are accepted, too, and compared without case and with ``_`` for ``-``."""

    def __init__(self, values: Iterable[str], aliases: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.values, self.aliases = tuple(values), dict(aliases or {})

    def read(self, value: Any) -> str:
        if isinstance(value, str):
            folded = self.aliases.get(value.lower().replace("_", "-")) if self.aliases else value
            if folded in self.values:
                return folded
        hint = did_you_mean(value, self.values) if isinstance(value, str) else ""
        raise ValidationError(f"must be one of {', '.join(self.values)}{hint}")


class Record(Worded):
    """An object with fixed keys."""

    def __init__(self, schema: type[Schema], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schema = schema

    def read(self, value: Any) -> Any:
        return self.schema().load(value)


class Items(Worded):
    """A list of one type; gives a tuple."""

    def __init__(self, inner: fields.Field[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner

    def read(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValidationError("must be a list, in [ ]")
        return tuple(load_each(enumerate(value), self.inner).values())


class Texts(Worded):
    """One text, or a list of at least one."""

    def __init__(self, check: Check | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = Text(check=check)

    def read(self, value: Any) -> tuple[str, ...]:
        found = Items(self.inner).read(value) if isinstance(value, list) else (self.inner.read(value),)
        if not found:
            raise ValidationError("must not be empty: leave the key out for the default")
        return found


class NamedMap(Worded):
    """An object whose keys are names that the operator chose; ``check`` gives the problem of a name or None."""

    def __init__(self, inner: fields.Field[Any], check: Check | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner, self.check = inner, check

    def read(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("must be an object, in { }")
        return load_each(value.items(), self.inner, self.check)


def load_each(pairs: Iterable[tuple[Any, Any]], inner: fields.Field[Any], check: Check | None = None) -> dict[Any, Any]:
    """Every value through ``inner``; raises one ValidationError with the messages of all."""
    made: dict[Any, Any] = {}
    wrong: dict[Any, Any] = {}
    for key, value in pairs:
        bad_name = check(key) if check else None
        try:
            made[key] = inner.deserialize(value)
        except ValidationError as invalid:
            wrong[key] = invalid.messages
        if bad_name:
            below = wrong.get(key, [])
            wrong[key] = {OWN: [bad_name], **(below if isinstance(below, dict) else {"_schema": below})}
    raise_all(wrong)
    return made


def raise_all(messages: Mapping[Any, Any]) -> None:
    """Raises when there is any. Lists are wrapped, so that a key called ``_schema`` is not taken for the object."""
    if messages:
        raise ValidationError({key: {OWN: v} if isinstance(v, list) else v for key, v in messages.items()})


def text_problem(value: Any, empty: bool = False) -> str | None:
    """Why a value cannot be handed to a process or a socket as text."""
    if not isinstance(value, str):
        return "must be a text, in quotes"
    if not value and not empty:
        return "must not be empty"
    if len(value) > MAX_TEXT:
        return f"must not be longer than {MAX_TEXT} characters"
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        return "must not contain \\u0000 or half of a surrogate pair"
    return None


def parse_size(value: Any) -> int | None:
    """Bytes, or None when it is no size."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    return math.floor(float(found[1]) * _UNITS[found[2].lower()])


def key_names(schema: type[Schema]) -> tuple[str, ...]:
    """The JSON keys of a schema, as written in the file."""
    return tuple(made.data_key or name for name, made in schema().fields.items())


def loaded(schema: Schema, document: Any) -> tuple[Any, list[Problem]]:
    """What the schema makes of it, or its problems."""
    try:
        return schema.load(document), []
    except ValidationError as invalid:
        return None, list(flatten(invalid.messages))
