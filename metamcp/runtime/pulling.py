"""An image on its way from its registry to the engine, which any thread may cut short."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from docker import auth
from docker.utils import parse_repository_tag

from metamcp.runtime.engine_client import EngineClient

TIMED_OUT = "(timed out)"
MOST_SECONDS = 1800.0
"""For one image."""


Told = Callable[[int, int], None]
"""(bytes that have come, of how many): of the layers that are known by then."""


@contextmanager
def begun_pull(client: EngineClient, reference: str, platform: str) -> Iterator[Pull]:
    """What the SDK's ``pull`` asks, with the response in our hands. Raises what the SDK raises."""
    repository, tag = parse_repository_tag(reference)
    registry, _ = auth.resolve_repository_name(repository)
    header = auth.get_config_header(client, registry)
    asked = {"fromImage": repository, "tag": tag or "latest"} | ({"platform": platform} if platform else {})
    response = client._post(
        client._url("/images/create"), params=asked, headers={"X-Registry-Auth": header} if header else {}, stream=True
    )
    with contextlib.closing(response):
        client._raise_for_status(response)
        yield Pull(response)


class Pull:
    """``follow`` on one thread, ``cut`` on any."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._socket: socket.socket = response.raw._fp.fp.raw._sock

    def follow(self, seconds: float = MOST_SECONDS, told: Told = lambda _done, _all: None) -> str:
        """To its end. What went wrong, or "". ``told`` hears how far it is. Raises what requests raises."""
        late = threading.Event()

        def over() -> None:
            late.set()
            self.cut()

        limit = threading.Timer(seconds, over)
        limit.start()
        try:
            problem = self._problem(told)
        except (OSError, ValueError):  # what was cut ends in the middle
            if not late.is_set():
                raise
        finally:
            limit.cancel()
            limit.join()
        return f"the image was not pulled within {seconds:g} s {TIMED_OUT}" if late.is_set() else problem

    def _problem(self, told: Told) -> str:
        found, layers = "", dict[str, tuple[int, int]]()
        for line in self._response.iter_lines():
            said = json.loads(line) if line.strip() else {}
            found = found or str(said.get("error") or "")
            detail = said.get("progressDetail") or {}
            if said.get("status") == "Downloading" and detail.get("total"):
                layers[str(said.get("id"))] = int(detail.get("current") or 0), int(detail["total"])
                told(sum(done for done, _ in layers.values()), sum(size for _, size in layers.values()))
        return found

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
