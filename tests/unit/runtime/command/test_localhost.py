from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime.command.localhost import rewrite, rewrite_env

_H = "host.docker.internal"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("localhost", _H),
        ("LocalHost", _H),
        ("localhost:5432", f"{_H}:5432"),
        ("127.0.0.1", _H),
        ("127.255.3.9:80", f"{_H}:80"),
        ("0.0.0.0:80", f"{_H}:80"),
        ("::1", _H),
        ("[::1]:6379", f"{_H}:6379"),
        ("[0:0:0:0:0:0:0:1]", _H),
        (" localhost:1\n", f" {_H}:1\n"),
        ("http://user:pw@localhost:5432/x", f"http://user:pw@{_H}:5432/x"),
        ("http://user:p@w@localhost/x", f"http://user:p@w@{_H}/x"),
        ("HTTP://LOCALHOST", f"HTTP://{_H}"),
        ("http://localhost?q=localhost#localhost", f"http://{_H}?q=localhost#localhost"),
        ("http://localhost/localhost:80/127.0.0.1", f"http://{_H}/localhost:80/127.0.0.1"),
        ("http://localhost:/", f"http://{_H}:/"),
        ("redis://[::1]:6379", f"redis://{_H}:6379"),
        ("jdbc:postgresql://localhost/db", f"jdbc:postgresql://{_H}/db"),
        ("jdbc:sqlserver://localhost:1433;databaseName=x", f"jdbc:sqlserver://{_H}:1433;databaseName=x"),
        ("mongodb://u:p@localhost:1,127.0.0.1:2/db?w=1", f"mongodb://u:p@{_H}:1,{_H}:2/db?w=1"),
        ("mongodb://a.example:1,localhost:2", f"mongodb://a.example:1,{_H}:2"),
        ("localhost:9092,127.0.0.1:9093", f"{_H}:9092,{_H}:9093"),
        ("kafka:9092,localhost:9093", f"kafka:9092,{_H}:9093"),
        ("localhost:1, 127.0.0.1:2", f"{_H}:1, {_H}:2"),
        ("http://localhost:1,https://127.0.0.1:2/x", f"http://{_H}:1,https://{_H}:2/x"),
        ("SASL://localhost:1,SSL://0.0.0.0:2", f"SASL://{_H}:1,SSL://{_H}:2"),
        ("--url=http://localhost:3000/x", f"--url=http://{_H}:3000/x"),
        ("DB_HOST=localhost", f"DB_HOST={_H}"),
        ("-Dhost=localhost:1", f"-Dhost={_H}:1"),
        ("--env=DB_HOST=localhost", f"--env=DB_HOST={_H}"),
    ],
)
def test_loopback_host_becomes_the_engines_machine(value: str, expected: str) -> None:
    assert rewrite(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "localhost.example.com",
        "http://localhost.example.com/",
        "127.0.0.10x",
        "127.0.0.256",
        "127.0.0",
        "128.0.0.1",
        "mylocalhost",
        "localhost-2:80",
        "http://example.com/?next=http://localhost/",
        "http://example.com/localhost",
        "http://example.com/?a=b,localhost:80",
        "http://example.com/?a=b,http://localhost/",
        "http://localhost:80@example.com/",
        "http://localhost@example.com/",
        "http://localhost:port/",
        "http://[::2]/",
        "user@localhost",
        "localhost/db",
        "localhost:80/x",
        "file:///localhost/x",
        "/etc/localhost",
        "talk to localhost please",
        "localhost is here",
        "hello, localhost",
        "localhost, please",
        "http://localhost is here",
        '{"url": "http://localhost"}',
        "a = localhost",
        "::1:6379",
        "--listen=everything",
    ],
)
def test_everything_else_stays_byte_for_byte(value: str) -> None:
    assert rewrite(value) == value


def test_variable_about_loopback_itself_is_left_alone() -> None:
    env = {"NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost", "DB": "localhost"}
    assert rewrite_env(env) == {**env, "DB": _H}


_PIECES = st.sampled_from(
    ["localhost", "127.0.0.1", "[::1]", "::1", "0.0.0.0", "example.com", "http://", "a:", ":80", "/", "?", "#", "@",
     ",", ";", "=", " ", "\n", "X", "--x=", "\\"]
)  # fmt: skip
_VALUES = st.one_of(st.text(), st.lists(_PIECES, max_size=8).map("".join))


@given(_VALUES)
def test_rewriting_twice_is_rewriting_once(value: str) -> None:
    assert rewrite(rewrite(value)) == rewrite(value)


@given(_VALUES.filter(lambda value: not any(host in value.lower() for host in ("localhost", "127.", "0.0.0.0", "1"))))
def test_value_without_a_loopback_host_never_changes(value: str) -> None:
    assert rewrite(value) == value


@given(st.lists(st.sampled_from(["localhost", "example.com", "db"]), min_size=1, max_size=4), st.integers(1, 65535))
def test_other_hosts_of_a_list_stay(hosts: list[str], port: int) -> None:
    rewritten = rewrite(",".join(f"{host}:{port}" for host in hosts)).split(",")
    assert rewritten == [f"{_H if host == 'localhost' else host}:{port}" for host in hosts]
