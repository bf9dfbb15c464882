"""What the generator itself can do: a load on a gateway that does nothing."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.client.session import Json
from bench.scenarios.common import Target
from bench.scenarios.load import LoadPlan, load

NULL_SERVER = Path(__file__).resolve().parents[1] / "server" / "nullserver.py"
_START_SECONDS = 10.0
_END_SECONDS = 5.0


@contextmanager
def null_server(kind: str) -> Iterator[tuple[str, int]]:
    """(URL, pid) of one that answers with ``json`` or ``sse``. Raises TimeoutError where it does not start."""
    process = subprocess.Popen([sys.executable, str(NULL_SERVER), kind], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], _START_SECONDS)[0]:
            raise TimeoutError("the null server did not start")
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp", process.pid
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


async def selftest(plan: LoadPlan) -> Json:
    """The figures of ``load`` with answers as JSON and as event streams."""
    result: Json = {}
    for kind in ("json", "sse"):
        with null_server(kind) as (url, pid):
            result[kind] = await load(Target("http", url, pids=[pid]), replace(plan, retries=0))
    return result
