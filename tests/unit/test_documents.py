"""The documents say what there is: every route, variable, command and event of the log; and nothing else. The keys of
both files: tests/unit/checks/test_config_reference.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from fake_gateway import FakeGateway, application
from promql import names, problems

from metamcp import keeper, separation
from metamcp.__main__ import main
from metamcp.config.settings import VARIABLES
from metamcp.runtime.command import environment
from metamcp.runtime.screening import screen
from metamcp.telemetry.edge import ROUTES
from metamcp.telemetry.metrics import EXIT_REASONS, FAMILIES, KINDS, Family

ROOT = Path(__file__).parents[2]
DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVERYTHING = "\n".join([*DOCUMENTS.values(), README])
CODE = re.compile(r"(?s)```.*?```|`[^`\n]+`|(?m:^ {4,}\S.*$)")
"""Where a document writes something to be typed or read literally."""

COMPOSE = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docker-compose*.yml"))
SOURCES = [*sorted((ROOT / "metamcp").rglob("*.py")), ROOT / "config/gunicorn.conf.py"]
LITERAL = "\n".join(found[0] for found in CODE.finditer(EVERYTHING))


# --- routes ------------------------------------------------------------------------------------------------


def routes() -> set[str]:
    """As the documents write them: ``<any(mcp,sse):kind>`` is both."""
    found: set[str] = set()
    for rule in application(FakeGateway()).url_map.iter_rules():
        choice = re.search(r"<any\(([\w,]+)\):\w+>", rule.rule)
        found |= {rule.rule.replace(choice[0], one) for one in choice[1].split(",")} if choice else {rule.rule}
    return found


ROUTE = re.compile(
    r"(?<![\w.~>/:…-])/(?:metamcp/<endpoint>|\.well-known|docker-test|api|health|ready|metrics|mcp|sse|message|console|login"
    r"|logout)(?![\w.])[\w./<>:-]*"
    r"|(?<=\| `)/(?=` \|)"
)


def written_routes(text: str) -> set[str]:
    return {found[0].rstrip("./:") or "/" for found in ROUTE.finditer(text)}


@pytest.mark.parametrize("route", sorted(routes()))
def test_every_route_is_in_the_operators_document(route: str) -> None:
    assert route in written_routes(DOCUMENTS["operations.md"])


def test_every_route_that_is_written_is_served() -> None:
    wrong = {
        name: sorted(missing)
        for name, text in {**DOCUMENTS, "README.md": README}.items()
        if (missing := {route for route in written_routes(text) if not _known(route)})
    }
    assert wrong == {}


def _known(route: str) -> bool:
    """Itself, or what others are below: ``/docker-test/*``."""
    plain = re.sub(r"/(default|dev)(?=/|$)", "/<endpoint>", route)
    return any(known in (route, plain) or known.startswith(f"{plain}/") for known in routes())


# --- variables ---------------------------------------------------------------------------------------------

VARIABLE = re.compile(r"\b(?:METAMCP|DOCKER|TRANSFORM|COLIMA|XDG|SSH)_[A-Z][A-Z_]*[A-Z]\b|\bWEB_CONCURRENCY\b")
OF_OTHERS = {"DOCKER_AUTH_CONFIG", "SSH_ASKPASS", "METAMCP_DEV_KEY"}  # the last one of clients


def constants(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def read_variables() -> set[str]:
    """Those that a tuple names, every text of the code that is the name of a variable of ours, and what the files of
    Compose and the test script ask for."""
    named = {*VARIABLES, *environment.BASICS, *environment.FOR_DOCKER, *environment.FOR_SSH, *screen.PASSED_ON}
    named |= {separation.SEPARATED, keeper.PARENT_VARIABLE, *separation.VARIABLES}
    named |= set(re.findall(r"\$\{(\w+)", COMPOSE))
    return named | {
        text
        for path in [*SOURCES, *(ROOT / "deploy").glob("*.py")]
        for text in constants(path)
        if VARIABLE.fullmatch(text)
    }


def test_every_variable_that_is_read_is_documented() -> None:
    text = DOCUMENTS["configuration.md"]
    assert sorted(name for name in read_variables() if f"`{name}`" not in text) == []


def test_every_variable_that_is_documented_is_read() -> None:
    written = {found[0] for found in VARIABLE.finditer(LITERAL)}
    assert len(written) > 30
    assert sorted(written - read_variables() - OF_OTHERS) == []


# --- commands ----------------------------------------------------------------------------------------------


def commands(group: click.Group = main, before: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        whole = f"{before}{name}"
        found |= commands(command, f"{whole} ") if isinstance(command, click.Group) else {whole: command}
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_and_option_is_in_the_operators_document(name: str) -> None:
    text = DOCUMENTS["operations.md"]
    assert re.search(rf"`{name}[ `,]|python -m metamcp {name}\b", text), name
    options = [option for made in commands()[name].params for option in made.opts if option.startswith("--")]
    assert [option for option in options if option not in text] == []


def test_every_command_that_is_written_exists() -> None:
    names = "|".join(sorted(commands(), key=len, reverse=True))
    written = re.findall(r"python -m metamcp\s+([a-z][a-z-]*(?: [a-z][a-z-]*)?)", EVERYTHING)
    assert len(written) > 15
    assert [command for command in written if not re.match(rf"(?:{names})\b", command)] == []


# --- the log -----------------------------------------------------------------------------------------------

EVENT = re.compile(r"[a-z]+(?:-[a-z]+)+|starting")
QUIET = {"debug"}


def events(*, quiet: bool) -> set[str]:
    """First arguments of calls of a logger, and what is handed to one under another name."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            logger = ast.unparse(node.func.value)
            if logger.rpartition(".")[2].strip("_") != "log" or (node.func.attr in QUIET and not quiet):
                continue
            found |= {
                inner.value for inner in ast.walk(node.args[0])
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            }  # fmt: skip
    return found


def documented_events() -> set[str]:
    """The first column of the table below "Read its log"."""
    section = DOCUMENTS["operations.md"].split("## Read its log")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| (`.*?) \|", section)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_event_that_the_document_promises_is_in_the_code() -> None:
    literal = {text for path in SOURCES for text in constants(path)}
    promised = documented_events()
    assert len(promised) > 50
    assert sorted(name for name in promised if not any(name in text for text in literal)) == []


def test_every_event_of_the_code_is_in_the_document() -> None:
    found = {name for name in events(quiet=False) if EVENT.fullmatch(name)}
    assert len(found) > 40
    assert sorted(found - documented_events()) == []


# --- metrics -----------------------------------------------------------------------------------------------


def documented_metrics() -> dict[str, tuple[str, ...]]:
    """The tables of metrics.md: family -> labels."""
    rows = re.findall(r"(?m)^\| `(metamcp_\w+)` \| (?:counter|gauge|histogram)(?:: (.*?))? \|", DOCUMENTS["metrics.md"])
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_metrics_and_their_labels_are_documented_as_they_are_declared() -> None:
    assert documented_metrics() == {family.name: family.labels for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_metric_is_documented_with_its_type_and_its_words(family: Family) -> None:
    (shown,) = re.findall(rf"(?m)^\| `{family.name}` \| (\w+)", DOCUMENTS["metrics.md"])
    assert shown == ("gauge" if family.type == "info" else family.type)


def test_the_words_of_labels_are_documented() -> None:
    words = {*EXIT_REASONS, *KINDS, *ROUTES}
    assert sorted(word for word in words if f"`{word}`" not in DOCUMENTS["metrics.md"]) == []


def test_every_query_of_the_document_uses_what_there_is() -> None:
    text = re.sub(r"(?s)```.*?```", "", DOCUMENTS["metrics.md"])
    queries = re.findall(r"(?m)^ {4}(\S.*(?:\n {6}.*)*)", text)
    assert len(queries) > 20
    assert [problem for query in queries for problem in problems(query)] == []
    assert all(names(query) for query in queries)


# --- links -------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?s)```.*?```", "", text))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", [*DOCUMENTS, "README.md"])
def test_every_link_between_documents_leads_somewhere(name: str) -> None:
    text = README if name == "README.md" else DOCUMENTS[name]
    for file, anchor in re.findall(r"\]\((?:docs/)?([\w.-]*\.md)?(?:#([\w-]+))?\)", text):
        assert not file or file in DOCUMENTS, (name, file)
        assert not anchor or anchor in anchors(DOCUMENTS[file] if file else text), (name, file, anchor)
