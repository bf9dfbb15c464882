"""Whether one of the two services lives: ``healthcheck.py`` asks the web tier, ``healthcheck.py link`` the supervisor.

Exit status 0 or 1. Standard library only, and little of that: the engine starts it every half minute.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping

SECONDS = 4.0
ALIVE = (b"200", b"421")
"""421: this web tier lives, and does not serve the name by which it was asked here."""


def web_address(environ: Mapping[str, str]) -> tuple[str, int]:
    """Where METAMCP_BIND is reached from within; every address is also the loopback's."""
    host, _, port = (environ.get("METAMCP_BIND") or "127.0.0.1:12009").rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)


def web_lives(environ: Mapping[str, str]) -> str:
    """The status line of ``/health``; raises OSError or ValueError where that is no good one."""
    with socket.create_connection(web_address(environ), SECONDS) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            line = answer.readline(200)
    words = line.split(maxsplit=2)
    if len(words) < 2 or words[1] not in ALIVE:
        raise ValueError(f"/health answers {line!r}")
    return line.decode("latin-1").strip()


def supervisor_lives(environ: Mapping[str, str]) -> str:
    """The path of the link, where somebody listens; raises OSError."""
    path = environ.get("METAMCP_LINK") or os.path.join(environ.get("METAMCP_STATE_DIR") or "var", "link.sock")  # noqa: PTH118  pathlib takes longer than the rest
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(path)
    return f"{path} is served"


def main(arguments: list[str]) -> int:
    try:
        print(supervisor_lives(os.environ) if arguments == ["link"] else web_lives(os.environ))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
