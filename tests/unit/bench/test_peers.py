"""Who is measured, how each is started, and what the command line takes."""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_process import eventually

from bench.accounting.processes import is_alive
from bench.options import add_plan, add_target, plan_of, target_of
from bench.peers.catalog import PEERS, chosen
from bench.peers.own import PREFIX, Variant
from bench.peers.peer import DIRECT, OWN, RIVAL, Place, end_tree
from bench.scenarios.jobs import text
from bench.scenarios.load import LoadPlan
from bench.server.benchserver import tools
from metamcp.config.loader import load
from metamcp.config.settings import Settings

ROOT = Path(__file__).parents[3]
_LEFT_OUT = {"rivals", "link.py"}  # the latter speaks the gateway's own link
FILES = sorted(
    path for path in (ROOT / "bench").rglob("*.py") if path.relative_to(ROOT / "bench").parts[0] not in _LEFT_OUT
)


def place(folder: Path, name: str) -> Place:
    return Place(name, 12345, folder, folder / "home", "metamcp-bench:local")


def test_the_usual_ones_are_every_variant_and_the_ways_without_a_gateway() -> None:
    usual = [peer.name for peer in chosen([], rivals=False)]
    own = {f"metamcp-{r}-{i}-{t}" for r in ("cli", "api") for i in ("session", "shared") for t in ("http", "sse")}
    assert set(usual) == own | {"direct-stdio", "direct-cli", "direct-api", "direct-api-shared"}
    assert {peer.kind for peer in chosen([], rivals=True)} == {DIRECT, OWN, RIVAL}


def test_names_choose_and_a_name_of_nobody_is_refused() -> None:
    assert [peer.name for peer in chosen(["direct-cli", "metamcp-api-shared-http*"], rivals=False)] == [
        "direct-cli", "metamcp-api-shared-http", "metamcp-api-shared-http-tools10", "metamcp-api-shared-http-tools500",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="nobody"):
        chosen(["nobody"], rivals=True)


@pytest.mark.parametrize("variant", [Variant("cli", "session", "sse", warm=4), Variant("api", "shared", "http", 500)])
def test_the_configuration_of_a_variant_is_one_that_the_gateway_takes(variant: Variant, tmp_path: Path) -> None:
    env = variant.environment(place(tmp_path, variant.name))
    settings = Settings.from_env(env)
    assert settings.workers == 2 and not settings.rate_limit
    loaded = load(settings.config_dir)
    assert [server.name for server in loaded.config.servers.values()] == [PREFIX.removesuffix("__")]


@pytest.mark.parametrize("name", [peer.name for peer in PEERS.values() if peer.kind != OWN])
def test_containers_of_others_carry_the_name_of_the_peer(name: str, tmp_path: Path) -> None:
    peer, where = PEERS[name], place(tmp_path, name)
    assert peer.labels(where) == [f"metamcp-bench={name}"]
    words = " ".join(peer.argv(where)) if peer.argv else peer.target(where)
    assert f"--label metamcp-bench={name}" in words or name in {"direct-stdio", "direct-api", "direct-api-shared"}


def options(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_target(parser)
    add_plan(parser, LoadPlan)
    return parser.parse_args(["--transport", "http", *argv])


def test_options_become_a_plan_and_a_target() -> None:
    found = options(
        "--url", "http://127.0.0.1:1/mcp", "-c", "1,2", "--tool", "big", "--duration", "0.5", "--pid", "3,4"
    )
    assert plan_of(found, LoadPlan) == LoadPlan(concurrency=[1, 2], tool="big", duration=0.5)
    assert target_of(found).pids == [3, 4]


@pytest.mark.parametrize("wrong", [("-c", "1000"), ("--tool", "none"), ("--payload", "-1"), ("--duration", "1e9")])
def test_a_load_is_bounded(wrong: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        options("--url", "http://127.0.0.1:1/mcp", *wrong)


def test_nobody_but_this_machine_is_loaded() -> None:
    with pytest.raises(ValueError, match="not on loopback"):
        target_of(options("--url", "http://example.com/mcp"))


def test_texts_of_sessions_differ_and_a_list_of_tools_has_its_length() -> None:
    assert len(text(100, 7)) == 100 and text(100, 7) != text(100, 8)
    assert [len(tools(count)) for count in (0, 10, 500)] == [6, 10, 500]


def test_a_tree_is_ended_with_what_is_below_it() -> None:
    script = "import subprocess, sys; subprocess.Popen(['sleep', '300']); print(flush=True); sys.stdin.read()"
    root = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with root:
        assert root.stdout is not None and root.stdout.readline()
        below = int(Path(f"/proc/{root.pid}/task/{root.pid}/children").read_text())
        end_tree(root)
    eventually(lambda: not is_alive(below), "it ends")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "bench")))
def test_the_kit_needs_the_standard_library_alone(path: Path) -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    # uvloop is used where it is there; demo.image makes images.
    assert names - {"bench", "uvloop", "demo", "__future__"} <= sys.stdlib_module_names
