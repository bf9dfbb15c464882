"""The health check of the image: what counts as alive, and where it asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import healthcheck


@contextmanager
def answering(said: bytes) -> Iterator[int]:
    """A port that says this to whoever asks, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(said)

        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()[1]
        server.join(5)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 0),
        (b"HTTP/1.1 421 Misdirected Request\r\n\r\n", 0),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 1),
        (b"nonsense\r\n", 1),
        (b"", 1),
    ],
)
def test_web_tier_lives_when_it_answers(monkeypatch: pytest.MonkeyPatch, said: bytes, status: int) -> None:
    with answering(said) as port:
        monkeypatch.setenv("METAMCP_BIND", f"0.0.0.0:{port}")
        assert healthcheck.main([]) == status


def test_nobody_at_the_port_is_dead(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("METAMCP_BIND", "127.0.0.1:1")
    assert healthcheck.main([]) == 1
    assert "refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("", ("127.0.0.1", 12009)),
        ("0.0.0.0:80", ("127.0.0.1", 80)),
        ("[::]:80", ("::1", 80)),
        ("[fd00::1]:80", ("fd00::1", 80)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
    ],
)
def test_it_asks_where_the_gateway_listens(bind: str, address: tuple[str, int]) -> None:
    assert healthcheck.web_address({"METAMCP_BIND": bind}) == address


def test_supervisor_lives_while_its_link_is_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METAMCP_STATE_DIR", str(tmp_path))
    assert healthcheck.main(["link"]) == 1
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "link.sock"))
        assert healthcheck.main(["link"]) == 1, "a socket that nobody serves"
        listener.listen()
        assert healthcheck.main(["link"]) == 0
        monkeypatch.setenv("METAMCP_LINK", str(tmp_path / "another.sock"))
        assert healthcheck.main(["link"]) == 1
