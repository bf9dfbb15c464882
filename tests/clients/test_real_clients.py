"""Real MCP clients in their own processes, over every transport they speak, against gunicorn with two workers.

Each makes the same tour of the conformance fixture: lists and calls tools, sees progress, answers the server's
questions for its user and its model, reads a resource, gets a prompt. What it prints has to be the same for all. The
clients with a handler for it then wait for tools/list_changed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conformance.fixture.catalog import TOOLS
from fetched import node_packages, python_packages, run_node
from gateway_process import ROOT, GatewayProcess, running_gateway
from stdio_client import stdio_client

PROGRAMS = Path(__file__).parent / "programs"
ERAS = ("legacy", "modern")
STATELESS = "2026-07-28"
SECONDS = 60
TOUR = {
    "tools": len(TOOLS),
    "text": "This is a simple text.",
    "progress": [0, 50, 100],
    "elicitation": 'User response: {"username": "ada", "email": "ada@example.com"}',
    "sampling": 'LLM response: {"type": "text", "text": "sampled"}',
    "resource": "Content of test://static-text, changed 0 times.",
    "prompt": "This is a simple prompt.",
}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """An unprefixed endpoint for a server of each era, and one with both."""
    fixture = str(ROOT / "tests/conformance/fixture")
    servers = {era: {"command": sys.executable, "args": ["-I", "-S", fixture, "--era", era]} for era in ERAS}
    more = {
        "namespaces": {era: {"servers": [era], "prefix": False} for era in ERAS} | {"both": {"servers": list(ERAS)}},
        "endpoints": {name: {"namespace": name} for name in (*ERAS, "both")},
    }
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers, workers=2, **more) as running:
        yield running


def in_python(program: str, packages: str, *arguments: str) -> Any:
    """What a program of the folder prints, run with the packages of ``packages``.txt."""
    command = [python_packages(PROGRAMS / f"{packages}.txt") / "bin/python", "-I", PROGRAMS / program, *arguments]
    return printed(subprocess.run(command, capture_output=True, text=True, timeout=SECONDS))


def in_node(program: str, *arguments: str) -> Any:
    # Node looks for packages beside a program, so the programs have to be beside the packages.
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(PROGRAMS, folder, dirs_exist_ok=True)
        Path(folder, "node_modules").symlink_to(node_packages(PROGRAMS) / "node_modules")
        return printed(run_node(str(Path(folder, program)), *arguments, seconds=SECONDS))


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


Client = Callable[[str], Any]
# name -> (the end of the URL that it is given, the client as a function of the whole URL)
CLIENTS: dict[str, tuple[str, Client]] = {
    "python-1-sse": ("sse", partial(in_python, "sdk_1.py", "sdk_1")),
    "python-1-streamable": ("mcp", partial(in_python, "sdk_1.py", "sdk_1")),
    "python-2-sse": ("sse", lambda url: in_python("sdk_2.py", "fastmcp", url, "legacy")),
    "python-2-streamable": ("mcp", lambda url: in_python("sdk_2.py", "fastmcp", url, "legacy")),
    "python-2-auto": ("mcp", lambda url: in_python("sdk_2.py", "fastmcp", url, "auto")),
    "python-2-stateless": ("mcp", lambda url: in_python("sdk_2.py", "fastmcp", url, STATELESS)),
    "fastmcp-sse": ("sse", partial(in_python, "fastmcp_client.py", "fastmcp")),
    "fastmcp-streamable": ("mcp", partial(in_python, "fastmcp_client.py", "fastmcp")),
    "typescript-1-sse": ("sse", partial(in_node, "sdk_1.mjs")),
    "typescript-1-streamable": ("mcp", partial(in_node, "sdk_1.mjs")),
    "typescript-2-streamable": ("mcp", lambda url: in_node("sdk_2.mjs", url, "legacy")),
    "typescript-2-auto": ("mcp", lambda url: in_node("sdk_2.mjs", url, "auto")),
    "typescript-2-stateless": ("mcp", lambda url: in_node("sdk_2.mjs", url, STATELESS)),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_makes_the_whole_tour(gateway: GatewayProcess, name: str, era: str) -> None:
    transport, client = CLIENTS[name]
    seen = client(f"{gateway.url}/metamcp/{era}/{transport}")
    if name == "typescript-1-sse":
        # It drops the progress that comes in one chunk with the answer, whatever server sends it: its event source
        # takes the events of a chunk in one turn, handles answers at once and notifications in the next turn.
        assert seen["progress"] == TOUR["progress"][: len(seen["progress"])]
        seen["progress"] = TOUR["progress"]
    assert seen == TOUR


def test_clients_of_all_kinds_at_once_make_the_whole_tour(gateway: GatewayProcess) -> None:
    names = ("python-1-sse", "python-2-stateless", "typescript-1-streamable", "typescript-2-auto")
    with ThreadPoolExecutor(len(names)) as pool:
        chosen = [CLIENTS[name] for name in names]
        tours = [pool.submit(client, f"{gateway.url}/metamcp/legacy/{transport}") for transport, client in chosen]
        assert [tour.result() for tour in tours] == [TOUR] * len(names)


@pytest.mark.parametrize(("kind", "transport"), [("http", "mcp"), ("sse", "sse")])
def test_the_inspectors_command_line_lists_and_calls(gateway: GatewayProcess, kind: str, transport: str) -> None:
    inspect = partial(
        in_node, "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js", "--cli",
        f"{gateway.url}/metamcp/both/{transport}", "--transport", kind, "--method",
    )
    names = {tool["name"] for tool in inspect("tools/list")["tools"]}
    assert names == {f"{era}__{tool}" for era in ERAS for tool in TOOLS}
    answer = inspect("tools/call", "--tool-name", "modern__test_simple_text")
    assert answer["content"][0]["text"] == TOUR["text"]


@pytest.mark.parametrize(("kind", "transport"), [("streamablehttp", "mcp"), ("sse", "sse")])
def test_mcp_proxy_serves_the_gateway_to_a_client_over_stdio(
    gateway: GatewayProcess, kind: str, transport: str
) -> None:
    python = python_packages(PROGRAMS / "mcp_proxy.txt") / "bin/python"
    url = f"{gateway.url}/metamcp/both/{transport}"
    with stdio_client([str(python), "-I", "-m", "mcp_proxy", "--transport", kind, url]) as client:
        client.initialize(seconds=SECONDS)
        names = {tool["name"] for tool in client.ask("tools/list")["result"]["tools"]}
        assert names == {f"{era}__{tool}" for era in ERAS for tool in TOOLS}
        assert client.text("legacy__test_simple_text") == TOUR["text"]
        client.end_input()
        client.wait()
