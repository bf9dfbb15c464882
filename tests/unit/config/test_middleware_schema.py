"""``middleware`` of a namespace: what is built in, what a package brings, and every mistake with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from installed import install

from metamcp.config.middleware_schema import BUILT_IN
from metamcp.config.model import MiddlewareSpec
from metamcp.config.schema import servers_from
from metamcp.errors import ConfigInvalid
from metamcp.gateway.middleware import stacks
from metamcp.gateway.middleware.interface import Call, Context, Listed, Refusal

SOURCE = """
from marshmallow import fields
from metamcp.config.fields import Strict
from metamcp.gateway.middleware.interface import Middleware

class Hours(Middleware):
    class Options(Strict):
        until = fields.Integer(required=True, strict=True)

class Plain(Middleware):
    pass

class Odd(Middleware):
    Options = dict

number = 4
"""
POINTS = {
    "hours": "hours_of_work:Hours", "plain": "hours_of_work:Plain", "odd": "hours_of_work:Odd",
    "number": "hours_of_work:number", "gone": "no_such_module_anywhere:X", "filter": "hours_of_work:Plain",
}  # fmt: skip


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path, "hours_of_work", SOURCE, POINTS)))


def loaded(*entries: Any) -> tuple[MiddlewareSpec, ...]:
    spaces = {"dev": {"servers": [], "middleware": list(entries)}}
    return servers_from({"mcpServers": {}, "namespaces": spaces, "endpoints": {}}).namespaces["dev"].middleware


def problems(*entries: Any) -> dict[str, str]:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(*entries)
    return {path.removeprefix("namespaces.dev.middleware"): text for path, text in caught.value.problems}


def test_what_is_built_in_has_a_schema_and_a_class() -> None:
    assert BUILT_IN.keys() == stacks.BUILT_IN.keys()


def test_options_arrive_in_their_order_with_their_defaults() -> None:
    found = loaded({"use": "time-budget", "seconds": 2}, {"use": "filter", "deny": ["*push*"]}, {"use": "call-log"})
    assert [one.use for one in found] == ["time-budget", "filter", "call-log"]
    assert found[0].options == {"seconds": 2.0}
    assert found[1].options == {"allow": None, "deny": ("*push*",), "kinds": ("tools", "prompts")}


def test_equal_entries_are_equal_so_that_a_reload_changes_nothing() -> None:
    entry = {"use": "redact", "patterns": ["a+"], "values": ["${TOKEN}"]}
    assert loaded(entry) == loaded(dict(entry))


@pytest.mark.parametrize(
    ("entry", "path", "text"),
    [
        ("filter", "[0]", "must be an object"),
        ({}, "[0].use", "is required"),
        ({"use": 4}, "[0].use", "must be a text"),
        ({"use": "filtre"}, "[0].use", 'did you mean "filter"'),
        ({"use": "filter", "denny": []}, "[0].denny", 'did you mean "deny"'),
        ({"use": "filter", "deny": [4]}, "[0].deny[0]", "must be a text"),
        ({"use": "filter", "kinds": ["tool"]}, "[0].kinds[0]", 'did you mean "tools"'),
        ({"use": "redact", "patterns": ["ok", "("]}, "[0].patterns[1]", "regular expression"),
        ({"use": "redact", "values": ["secret in clear"]}, "[0].values[0]", "must be ${NAME}"),
        ({"use": "redact", "values": ["${file:/x}"]}, "[0].values[0]", "must be ${NAME}"),
        ({"use": "result-size"}, "[0].bytes", "is required"),
        ({"use": "result-size", "bytes": 0}, "[0].bytes", "from 1 to"),
        ({"use": "time-budget", "seconds": "3"}, "[0].seconds", "must be a number"),
        ({"use": "overrides", "annotations": {"readOnly": True}}, "[0].annotations.readOnly", "readOnlyHint"),
        ({"use": "call-log", "level": "info"}, "[0].level", "not a known key"),
    ],
)
def test_mistakes_are_named_by_their_path(entry: Any, path: str, text: str) -> None:
    found = problems(entry)
    assert list(found) == [path] and text in found[path]


@pytest.mark.usefixtures("package")
def test_package_is_found_by_its_entry_point_and_checks_its_own_options() -> None:
    hours, plain = loaded({"use": "hours", "until": 18}, {"use": "plain"})
    assert (hours.options, plain.options) == ({"until": 18}, {})
    assert hours.plugin is not None and hours.plugin.__name__ == "Hours"
    found = problems({"use": "hours", "until": "late"}, {"use": "hours", "untl": 1}, {"use": "plain", "x": 1})
    assert set(found) == {"[0].until", "[1].until", "[1].untl", "[2].x"}
    assert 'did you mean "until"' in found["[1].untl"]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("use", "text"),
    [
        ("odd", "no marshmallow schema"),
        ("number", "is no class"),
        ("gone", "cannot be loaded from no_such_module_anywhere:X: ModuleNotFoundError"),
        ("huors", 'did you mean "hours"'),
    ],
)
def test_package_that_cannot_be_used_is_a_mistake_of_the_configuration(use: str, text: str) -> None:
    assert text in problems({"use": use})["[0].use"]


@pytest.mark.usefixtures("package")
def test_package_cannot_take_the_name_of_what_is_built_in() -> None:
    (found,) = loaded({"use": "filter"})
    assert found.plugin is None


def test_package_of_the_document_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[3] / "docs" / "middleware.md").read_text(encoding="utf-8")
    source = text.split("```python\n")[1].partition("```")[0]
    folder = install(tmp_path, "package_of_the_document", source, {"hours": "package_of_the_document:Hours"})
    monkeypatch.syspath_prepend(str(folder))
    (found,) = loaded({"use": "hours", "until": 0})
    assert found.plugin is not None
    made = found.plugin(found.options)
    dangerous, harmless = (Listed("git", name, f"git__{name}", "name", {}) for name in ("drop_dangerous", "log"))
    assert made.on_list("tools", [dangerous, harmless], Context("dev")) == [harmless]
    with pytest.raises(Refusal, match="tomorrow"):
        made.on_call(Call("tools/call", "deploy", "now", {}), Context("dev"))
    made.on_call(Call("tools/call", "git", "log", {}), Context("dev"))
