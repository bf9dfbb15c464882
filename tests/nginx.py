"""A real nginx in front of a gateway, configured as one would for server-sent events, with a private prefix."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway_process import eventually, free_port

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    log_format asked '$status $upstream_status $request_uri';
    access_log {folder}/access.log asked;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateway {{
        server 127.0.0.1:{gateway};
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 32m;
        location / {{
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
            proxy_request_buffering {buffering};
            proxy_next_upstream off;
            proxy_read_timeout 1h;
        }}
        {more}
    }}
}}
"""
PREFIX = """
        location /{name}/ {{
            proxy_pass http://gateway/;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            {directives}
        }}
"""


class Nginx:
    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder

    @property
    def passed_on(self) -> list[str]:
        """The requests that reached the gateway, as nginx saw them."""
        lines = [line.split(" ", 2) for line in (self._folder / "access.log").read_text().splitlines()]
        return [target for _, upstream, target in lines if upstream != "-"]


@contextmanager
def running_nginx(
    folder: Path, gateway: int, *, buffering: bool, prefixes: Mapping[str, str] | None = None, port: int = 0
) -> Iterator[Nginx]:
    """``buffering``: whole requests are read before they are passed on. ``prefixes``: the gateway once more below each
    of these paths, with directives of its own."""
    command = shutil.which("nginx") or "/usr/sbin/nginx"
    port = port or free_port()
    config = folder / "nginx.conf"
    switch = "on" if buffering else "off"
    more = "".join(PREFIX.format(name=name, directives=what) for name, what in (prefixes or {}).items())
    config.write_text(CONFIG.format(folder=folder, gateway=gateway, port=port, buffering=switch, more=more))
    process = subprocess.Popen([command, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")])
    try:
        eventually(lambda: (folder / "nginx.pid").exists(), "nginx runs")
        yield Nginx(port, folder)
    finally:
        process.terminate()
        process.wait(10)
