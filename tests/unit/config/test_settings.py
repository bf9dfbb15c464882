"""Environment variables of the gateway: defaults, forms, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.engine_address import ENGINE_VARIABLES
from metamcp.config.settings import LOOPBACK_HOSTS, VARIABLES, WEB_VARIABLES, Settings
from metamcp.errors import ConfigInvalid

ROOT = Path(__file__).resolve().parents[3]


def problems(**environ: str) -> dict[str, str]:
    with pytest.raises(ConfigInvalid) as caught:
        Settings.from_env(environ)
    return dict(caught.value.problems)


def test_empty_environment_gives_the_defaults() -> None:
    made = Settings.from_env({})
    assert made == Settings()
    assert made.bind == "127.0.0.1:12009"
    assert made.allowed_hosts == LOOPBACK_HOSTS
    assert made.link == Path("var/link.sock")
    assert not made.split


def test_empty_variable_counts_as_unset() -> None:
    assert Settings.from_env(dict.fromkeys(VARIABLES, " ")) == Settings()


def test_every_variable_arrives() -> None:
    made = Settings.from_env(
        {
            "METAMCP_CONFIG_DIR": "/etc/metamcp",
            "METAMCP_STATE_DIR": "/var/lib/metamcp",
            "METAMCP_BIND": "0.0.0.0:80",
            "WEB_CONCURRENCY": "4",
            "METAMCP_LINK": "/run/link/s.sock",
            "METAMCP_WEB_USER": "web",
            "METAMCP_SUPERVISOR_USER": "own",
            "METAMCP_ALLOWED_HOSTS": "MCP.example.com, localhost:12009,::1,[::1]:80,",
            "METAMCP_ALLOWED_ORIGINS": "https://App.example.com,http://localhost:3000",
            "METAMCP_PUBLIC_URL": "https://MCP.example.com/",
            "METAMCP_TRUSTED_PROXIES": "1",
            "METAMCP_CLIENT_SECONDS": "5",
            "METAMCP_RATE_LIMIT": "600/minute",
            "METAMCP_MAX_SESSIONS_PER_PRINCIPAL": "10",
            "METAMCP_MAX_STREAMS_PER_PRINCIPAL": "20",
            "METAMCP_AUDIT_LOG": "off",
            "METAMCP_RUNTIME": "docker-api",
            "METAMCP_LOG_LEVEL": "debug",
            "METAMCP_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318",
            "DOCKER_HOST": "tcp://proxy:2375",
            "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL": "False",
            "UNRELATED": "x",
        }
    )
    assert made == Settings(
        config_dir=Path("/etc/metamcp"),
        state_dir=Path("/var/lib/metamcp"),
        bind="0.0.0.0:80",
        workers=4,
        link=Path("/run/link/s.sock"),
        split=True,
        web_user="web",
        supervisor_user="own",
        allowed_hosts=("mcp.example.com", "localhost:12009", "[::1]", "[::1]:80"),
        allowed_origins=("https://app.example.com", "http://localhost:3000"),
        public_url="https://mcp.example.com",
        trusted_proxies=1,
        client_seconds=5,
        rate_limit="600/minute",
        max_sessions_per_principal=10,
        max_streams_per_principal=20,
        audit_log=None,
        runtime="docker-api",
        log_level="DEBUG",
        log_format="json",
        traces=True,
        transform_localhost=False,
    )


def test_link_lies_in_the_state_directory_unless_it_is_set() -> None:
    assert Settings.from_env({"METAMCP_STATE_DIR": "/state"}).link == Path("/state/link.sock")


@pytest.mark.parametrize("value", ["true", "TRUE", "1", "yes", "on"])
def test_every_form_of_yes_is_understood(value: str) -> None:
    assert Settings.from_env({"TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL": value}).transform_localhost


@pytest.mark.parametrize("value", ["127.0.0.1:12009", "[::]:80", "localhost:0", "web:65535"])
def test_bind_takes_host_and_port(value: str) -> None:
    assert Settings.from_env({"METAMCP_BIND": value}).bind == value


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("METAMCP_STATE_DIR", "/" + "x" * 120, "107 bytes"),
        ("METAMCP_BIND", "12009", "HOST:PORT"),
        ("METAMCP_BIND", ":12009", "hosts"),
        ("METAMCP_BIND", "h:65536", "HOST:PORT"),
        ("METAMCP_BIND", "h:²", "HOST:PORT"),
        ("METAMCP_BIND", "[::zz]:1", "IPv6"),
        ("WEB_CONCURRENCY", "0", "from 1"),
        ("WEB_CONCURRENCY", "two", "whole number"),
        ("WEB_CONCURRENCY", "²", "whole number"),
        ("METAMCP_LINK", "/" + "x" * 107, "107 bytes"),
        ("METAMCP_ALLOWED_HOSTS", "*", "not possible"),
        ("METAMCP_ALLOWED_HOSTS", "https://a.example", "IPv6"),
        ("METAMCP_ALLOWED_HOSTS", "a/b", "without scheme"),
        ("METAMCP_PUBLIC_URL", "https://mcp.example.com/path", "without a path"),
        ("METAMCP_PUBLIC_URL", "mcp.example.com", "without a path"),
        ("METAMCP_PUBLIC_URL", "ftp://mcp.example.com", "such as https"),
        ("METAMCP_ALLOWED_ORIGINS", "a.example", "https://"),
        ("METAMCP_ALLOWED_ORIGINS", "https://a.example/", "without a path"),
        ("METAMCP_ALLOWED_ORIGINS", "https://u@a.example", "https://"),
        ("METAMCP_SUPERVISOR_USER", "metamcp", "needs METAMCP_WEB_USER"),
        ("METAMCP_RUNTIME", "docker", "docker-cli"),
        ("METAMCP_LOG_LEVEL", "warn", 'did you mean "WARNING"'),
        ("METAMCP_LOG_FORMAT", "xml", "text, json"),
        ("OTEL_TRACES_EXPORTER", "console", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel:4317", "http://127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "http://127.0.0.1:4318"),
        ("DOCKER_HOST", "/var/run/docker.sock", "unix://"),
        ("DOCKER_HOST", "unix://", "unix://"),
        ("DOCKER_HOST", "ssh://op:secret@far", "without a password"),
        ("TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL", "maybe", "true or false"),
    ],
)
def test_value_that_cannot_be_used_is_named_with_the_remedy(name: str, value: str, word: str) -> None:
    found = problems(**{name: value})
    assert list(found) == [name]
    assert word in found[name]


COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        (COLLECTOR, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://otel/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", **COLLECTOR}, False),
        ({"OTEL_SDK_DISABLED": "true", **COLLECTOR}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **COLLECTOR}, True),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_traces_are_wanted_where_somebody_names_a_collector(environ: dict[str, str], wanted: bool) -> None:
    assert Settings.from_env(environ).traces is wanted


def test_protocol_that_is_not_spoken_is_a_mistake_where_traces_are_wanted() -> None:
    assert "http/protobuf" in problems(OTEL_EXPORTER_OTLP_PROTOCOL="grpc", **COLLECTOR)["OTEL_EXPORTER_OTLP_PROTOCOL"]


def test_all_mistakes_are_reported_at_once() -> None:
    found = problems(WEB_CONCURRENCY="x", METAMCP_BIND="x", DOCKER_HOST="x", METAMCP_RUNTIME="x")
    assert list(found) == ["METAMCP_BIND", "WEB_CONCURRENCY", "METAMCP_RUNTIME", "DOCKER_HOST"]


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text() | st.text(alphabet="[]:/.,*0a1 -")))
def test_any_environment_gives_settings_or_named_problems(environ: dict[str, str]) -> None:
    try:
        Settings.from_env(environ)
    except ConfigInvalid as invalid:
        assert {path for path, _ in invalid.problems} <= set(VARIABLES)


def test_every_variable_is_described_in_the_documentation() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [name for name in VARIABLES if f"`{name}`" not in text] == []


def test_test_image_is_a_reference_in_full_and_no_option() -> None:
    assert Settings.from_env({"METAMCP_TEST_IMAGE": "python:3.12"}).test_image == "docker.io/library/python:3.12"
    for wrong in ("--privileged", "UPPER", "a b", "deadbeef" * 8):
        with pytest.raises(ConfigInvalid) as caught:
            Settings.from_env({"METAMCP_TEST_IMAGE": wrong})
        assert [path for path, _ in caught.value.problems] == ["METAMCP_TEST_IMAGE"]


def test_web_tier_gets_no_variable_that_is_for_the_supervisor_alone() -> None:
    """A new variable has to be put on one of the two sides."""
    supervisors = {
        "METAMCP_CONFIG_DIR", "METAMCP_RUNTIME", "METAMCP_MAX_INSTANCES", "METAMCP_MAX_INSTANCES_PER_PRINCIPAL",
        "METAMCP_MAX_SESSIONS_PER_PRINCIPAL", "METAMCP_MAX_STREAMS_PER_PRINCIPAL", "METAMCP_AUDIT_LOG",
        "METAMCP_SUPERVISOR_USER", "METAMCP_TEST_IMAGE", "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL", *ENGINE_VARIABLES,
    }  # fmt: skip
    assert set(VARIABLES) == {*WEB_VARIABLES, *supervisors}
    assert not supervisors & set(WEB_VARIABLES)
