"""A registry on loopback, from which engines fetch without TLS: one image of one file."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _layer() -> bytes:
    out, content = io.BytesIO(), b"from a registry\n"
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("hello")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _contents(architecture: str) -> tuple[bytes, dict[str, bytes]]:
    """The manifest, and blobs by their digests (distribution specification, image manifest v2 schema 2)."""
    layer = _layer()
    rootfs = {"type": "layers", "diff_ids": [digest(layer)]}
    config = json.dumps({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}).encode()

    def described(kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "size": len(data), "digest": digest(data)}

    manifest = {
        "schemaVersion": 2, "mediaType": _MANIFEST, "config": described(_CONFIG, config),
        "layers": [described(_LAYER, layer)],
    }  # fmt: skip
    return json.dumps(manifest).encode(), {digest(layer): layer, digest(config): config}


@contextmanager
def registry(architecture: str) -> Iterator[str]:
    """The reference of its image; every other one is unknown to it."""
    manifest, blobs = _contents(architecture)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            last = self.path.rpartition("/")[2]
            if self.path == "/v2/":
                self._say(200, b"{}", "application/json")
            elif "/hello/manifests/" in self.path:
                self._say(200, manifest, _MANIFEST)
            elif last in blobs:
                self._say(200, blobs[last], "application/octet-stream")
            else:
                unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                self._say(404, json.dumps(unknown).encode(), "application/json")

        do_HEAD = do_GET  # noqa: N815  its base calls it so

        def _say(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", digest(body))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="registry")
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}/hello:1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
