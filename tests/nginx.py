"""A real nginx in front of a gateway, with the shipped configuration: only where it listens, keeps its files and finds
the gateway is another, and its access log has the queries."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway_process import ROOT, eventually, free_port

PREFIX = """
    location /{name}/ {{
        proxy_pass http://metamcp/;
        {directives}
    }}
"""
MAIN, SITE = ROOT / "config/nginx.conf", ROOT / "config/nginx/site.conf"
COMMAND = shutil.which("nginx") or "/usr/sbin/nginx"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_TLS = ("    # --- TLS:", "    # --- end of TLS ---")


class Nginx:
    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder

    @property
    def asked(self) -> list[str]:
        """The targets of all requests that it has answered."""
        return [target for _, target in self._lines()]

    @property
    def passed_on(self) -> list[str]:
        """Of those the ones that reached the gateway."""
        return [target for upstream, target in self._lines() if upstream != "-"]

    def _lines(self) -> list[tuple[str, str]]:
        lines = (line.split(" ", 2) for line in (self._folder / "access.log").read_text().splitlines())
        return [(upstream, target) for _, upstream, target in lines]


def changed(text: str, changes: Mapping[str, str]) -> str:
    """``text`` with each key, which must be there once, replaced by its value."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is in the shipped configuration {text.count(old)} times"
        text = text.replace(old, new)
    return text


def with_tls(site: str, certificate: Path, key: Path) -> str:
    """As an operator would: the lines of the block count, the one above it does not."""
    before, _, rest = site.partition(_TLS[0])
    block, _, after = rest.partition(_TLS[1])
    lines = [line.removeprefix("    # ") for line in block.splitlines()[1:]]
    assert lines and all(line.endswith(";") for line in lines)
    text = changed(before, {"listen 8080;": ""}) + "\n".join(lines) + after
    return changed(text, {"/etc/nginx/tls/fullchain.pem": str(certificate), "/etc/nginx/tls/privkey.pem": str(key)})


def write_config(
    folder: Path, port: int, gateway: int, *,
    buffering: bool, tls: tuple[Path, Path] | None, limited: bool, prefixes: Mapping[str, str],
) -> Path:  # fmt: skip
    """The main file, in ``folder`` with all that nginx writes. Its user may be another one when root starts it."""
    main = changed(
        MAIN.read_text(),
        {
            "worker_processes auto;": f"daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;",
            "server 127.0.0.1:12009;": f"server 127.0.0.1:{gateway};",
            "include nginx/site.conf;": f"include {folder}/site.conf;",
        },
    )
    places = "".join(f"{name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    site = SITE.read_text() if tls is None else with_tls(SITE.read_text(), *tls)
    changes = {
        ("listen 8080;" if tls is None else "listen 8443 ssl;"): f"listen 127.0.0.1:{port}{' ssl' if tls else ''};",
        "access_log /var/log/nginx/access.log metamcp;": f"access_log {folder}/access.log asked;\n{places}",
        "error_log /var/log/nginx/error.log warn;": f"error_log {folder}/error.log info;",
        "log_format metamcp ": "log_format asked '$status $upstream_status $request_uri';\nlog_format metamcp ",
        "access_log off;": "",
    }
    changes |= {} if buffering else {"proxy_request_buffering on;": "proxy_request_buffering off;"}
    changes |= {} if limited else {"rate=50r/s": "rate=5000r/s"}
    more = "".join(PREFIX.format(name=name, directives=what) for name, what in prefixes.items())
    changes |= {"    location / {": f"{more}    location / {{"}
    (folder / "site.conf").write_text(changed(site, changes))
    (folder / "nginx.conf").write_text(main)
    return folder / "nginx.conf"


@contextmanager
def running_nginx(
    folder: Path,
    gateway: int,
    *,
    buffering: bool = True,
    tls: tuple[Path, Path] | None = None,
    limited: bool = False,
    prefixes: Mapping[str, str] | None = None,
    port: int = 0,
) -> Iterator[Nginx]:
    """``buffering``: whole requests are read before they are passed on. ``tls``: certificate and key. ``limited``: with
    the rate that is shipped, which a test may pass otherwise. ``prefixes``: the gateway once more below each of these
    paths, with directives of its own."""
    port = port or free_port()
    config = write_config(folder, port, gateway, buffering=buffering, tls=tls, limited=limited, prefixes=prefixes or {})
    process = subprocess.Popen([COMMAND, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")])
    try:
        eventually(lambda: (folder / "nginx.pid").exists(), "nginx runs")
        yield Nginx(port, folder)
    finally:
        process.terminate()
        process.wait(10)
