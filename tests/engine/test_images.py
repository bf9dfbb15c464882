"""The images that the other tests and the demonstration stand on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from docker_engine import Engine
from stdio_client import StdioClient, stdio_client

from demo.image import USER_ID, image_ids, rootfs_tar

ROOT = Path(__file__).parents[2]
MAKE_IMAGE = ROOT / "demo/make_image.py"
DEMO_TAG = "metamcp-demo:test"
LABEL = "metamcp.instance=test-images"
Start = Callable[..., StdioClient]


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    """Starts a container from the test image and gives a client of it."""
    with ExitStack() as stack:

        def run(*arguments: str, options: tuple[str, ...] = (), image: str = engine.image) -> StdioClient:
            argv = ["docker", "run", "-i", "--rm", "--label", LABEL, *options, image, *arguments]
            return stack.enter_context(stdio_client(argv, engine.env))

        yield run


def test_server_in_a_container_answers_and_ends_with_its_input(start: Start) -> None:
    client = start("/misbehaving.py", "good")
    assert client.initialize("2025-06-18")["protocolVersion"] == "2025-06-18"
    assert len(client.ask("tools/list")["result"]["tools"]) == 9
    client.end_input()
    assert client.wait() == 0


def test_demo_server_lies_beside_it(start: Start) -> None:
    client = start("/demo.py", "notes")
    client.initialize()
    assert client.text("add", text="milk") == "Note 1 added."
    client.end_input()
    assert client.wait() == 0


def test_server_runs_as_the_unprivileged_user(engine: Engine) -> None:
    code = "import os; print(os.getuid(), os.getgid())"
    assert engine.docker("run", "--rm", engine.image, "-c", code) == f"{USER_ID} {USER_ID}"


def test_interpreter_has_its_library_and_its_extensions(engine: Engine) -> None:
    code = "import ssl, sqlite3, asyncio, ctypes, lzma, uuid, decimal; print(ssl.OPENSSL_VERSION)"
    assert "SSL" in engine.docker("run", "--rm", engine.image, "-c", code)


def test_bytecode_in_the_image_is_used_with_a_read_only_root(engine: Engine) -> None:
    code = "import json.decoder, sys; from pathlib import Path; print(Path(json.decoder.__cached__).exists())"
    assert engine.docker("run", "--rm", "--read-only", engine.image, "-v", "-c", code) == "True"


def test_thread_ends_without_taking_the_process_along(engine: Engine) -> None:
    # Python ends daemon threads with pthread_exit, which loads a library that ldd does not show.
    start = "threading.Thread(target=ctypes.CDLL(None).pthread_exit, args=(None,), daemon=True).start()"
    code = f"import ctypes, threading, time; {start}; time.sleep(0.2); print('alive')"
    assert engine.docker("run", "--rm", engine.image, "-c", code) == "alive"


def test_server_starts_under_the_hardened_options(start: Start) -> None:
    limits = ("--memory", "64m", "--pids-limit", "32", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    options = ("--init", "--read-only", "--tmpfs", "/tmp", "--network", "none", *limits)
    client = start("/misbehaving.py", "good", options=options)
    client.initialize()
    assert client.text("echo", text="safe") == "safe"
    client.end_input()
    assert client.wait() == 0


def test_whoami_differs_between_containers(start: Start) -> None:
    assert start("/misbehaving.py", "good").text("whoami") != start("/misbehaving.py", "good").text("whoami")


def test_ignoring_server_is_ended_by_removing_its_container(engine: Engine, start: Start) -> None:
    client = start("/misbehaving.py", "ignores-eof-and-term", options=("--init",))
    client.initialize()
    engine.docker("rm", "--force", *engine.containers(LABEL))
    assert client.wait() == 137


def test_root_file_system_is_the_same_each_time() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    for stream in (first, second):
        rootfs_tar(stream, {"/extra": b"contents"})
    assert first.getvalue() == second.getvalue()


def make_image(env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(MAKE_IMAGE), *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100, check=False)


def test_demo_image_is_made_once_and_then_left_alone(engine: Engine, start: Start) -> None:
    env, options = dict(engine.env), ("--from-machine", "--tag", DEMO_TAG)
    try:
        assert "made from this machine's Python" in make_image(env, *options, "--force").stdout
        made = image_ids(DEMO_TAG, env=env)
        assert make_image(env, *options).stdout == f"{DEMO_TAG} is up to date\n"
        assert image_ids(DEMO_TAG, env=env) == made
        client = start("hello", image=DEMO_TAG)
        assert client.text("greet", name="Ada") == "Hello, Ada!"
        client.end_input()
        assert client.wait() == 0
    finally:
        engine.docker("image", "rm", "--force", DEMO_TAG)


def test_demo_image_without_an_engine_says_so_with_status_3(tmp_path: Path) -> None:
    done = make_image({**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert done.returncode == 3
    assert "No Docker engine answers" in done.stderr
