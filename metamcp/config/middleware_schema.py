"""``middleware`` of a namespace: the options of what is built in, and those that an installed package declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from metamcp.config import plugins
from metamcp.config.document import did_you_mean
from metamcp.config.fields import (
    Choice,
    Flag,
    Items,
    Number,
    Record,
    Strict,
    Text,
    Worded,
    raise_all,
    text_problem,
)
from metamcp.config.hints import AnnotationsSchema
from metamcp.config.model import MIB, MiddlewareSpec
from metamcp.config.server_schema import WEEK

_PATTERN = "with `*` for any text and `?` for one character"
_KINDS = ("tools", "prompts", "resources")


def _expression(text: str) -> str | None:
    try:
        re.compile(text)
    except (re.error, RecursionError):
        return "is no regular expression of Python"
    return None


def _variable(text: str) -> str | None:
    wrong = re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", text) is None
    return "must be ${NAME}: files are not read here, and secrets do not stand in this file" if wrong else None


class FilterSchema(Strict):
    allow = Items(
        Text(), load_default=None, unset="everything",
        doc=f"Patterns, {_PATTERN}; what none of them fits is left out.",
    )  # fmt: skip
    deny = Items(Text(), load_default=(), unset="nothing", doc="Patterns; what one of them fits is left out.")
    kinds = Items(
        Choice(_KINDS), shape="kinds", load_default=("tools", "prompts"), unset="`tools`, `prompts`",
        doc="What is filtered, of `tools`, `prompts`, `resources` (with their templates).",
    )  # fmt: skip


class OverridesSchema(Strict):
    match = Items(Text(), load_default=("*",), unset="all", doc=f"Patterns of names, {_PATTERN}.")
    kinds = Items(
        Choice(_KINDS), shape="kinds", load_default=("tools",), unset="`tools`", doc="What is changed, as for `filter`."
    )
    title_prefix = Text(data_key="titlePrefix", load_default="", unset="none", doc="Put before a title that is there.")
    description_prefix = Text(
        data_key="descriptionPrefix", load_default="", unset="none", doc="Put before each description."
    )
    description_suffix = Text(
        data_key="descriptionSuffix", load_default="", unset="none", doc="Put behind each description."
    )
    annotations = Record(
        AnnotationsSchema, load_default=None, unset="the tool's",
        doc="[Hints](configuration.md#hints) that replace those of tools.",
    )  # fmt: skip


class CallLogSchema(Strict):
    """It has no options."""


class ResultSizeSchema(Strict):
    bytes = Number(1, 32 * MIB, whole=True, required=True, doc="The most that a result may have, as JSON.")


class RedactSchema(Strict):
    patterns = Items(
        Text(check=_expression), load_default=(), unset="none",
        doc="Regular expressions of Python; what fits is masked.",
    )  # fmt: skip
    values = Items(
        Text(check=_variable, shape="`${NAME}`"), load_default=(), unset="none",
        doc="Environment variables of the gateway, as `${NAME}`, whose values are masked.",
    )  # fmt: skip
    known = Flag(
        load_default=True, unset="`true`", doc="Mask also the secrets of servers that the gateway's own log masks."
    )
    replacement = Text(load_default="***", empty=True, unset="`***`", doc="What stands there instead.")
    bytes = Number(
        1, 32 * MIB, whole=True, load_default=MIB, unset="`1048576`",
        doc="A larger result or message is not looked through, and not passed on.",
    )  # fmt: skip


class TimeBudgetSchema(Strict):
    seconds = Number(0.001, WEEK, required=True, doc="From the call to its answer, whatever its progress.")


BUILT_IN: Mapping[str, type[Strict]] = {
    "filter": FilterSchema,
    "overrides": OverridesSchema,
    "call-log": CallLogSchema,
    "result-size": ResultSizeSchema,
    "redact": RedactSchema,
    "time-budget": TimeBudgetSchema,
}
"""Name → the schema of its options. No package can take one of these names."""


class MiddlewareEntry(Worded):
    """``{"use": NAME, …}``; gives a MiddlewareSpec. Loads the package that has NAME, unless it is built in."""

    def read(self, value: Any) -> MiddlewareSpec:
        if not isinstance(value, dict):
            raise ValidationError("must be an object, in { }")
        if "use" not in value:
            raise_all({"use": ["is required"]})
        use = value["use"]
        if problem := text_problem(use):
            raise_all({"use": [problem]})
        plugin = None if use in BUILT_IN else _plugin(use)
        schema = _options_of(plugin) if plugin is not None else BUILT_IN[use]
        options = schema().load({key: option for key, option in value.items() if key != "use"})
        return MiddlewareSpec(use, options, plugin)


def _plugin(use: str) -> type[Any]:
    found = plugins.installed()
    if use not in found:
        known = (*BUILT_IN, *found)
        raise_all({"use": [f"names no middleware{did_you_mean(use, known)}; there are: {', '.join(sorted(known))}"]})
    try:
        return plugins.load(found[use])
    except plugins.PluginUnusable as broken:
        raise ValidationError({"use": [str(broken)]}) from broken


def _options_of(plugin: type[Any]) -> type[Schema]:
    options = getattr(plugin, "Options", None) or CallLogSchema
    if not (isinstance(options, type) and issubclass(options, Schema)):
        raise_all({"use": ["cannot be used: its Options is no marshmallow schema"]})
    return options
