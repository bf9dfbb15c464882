"""What the tests themselves rely on: a second engine, for tests that kill it, takes nothing from the first."""

from __future__ import annotations

from docker_engine import Engine, private_daemon


def test_containers_still_get_a_network_after_an_engine_apart_came_and_went(engine: Engine) -> None:
    with private_daemon("--bridge=none", apart=True) as (other, _daemon):
        assert other.docker("network", "ls", "--quiet", "--filter", "name=bridge") == ""
    run = ["run", "--rm", "--network=bridge", "--entrypoint=python3", engine.image]
    assert engine.docker(*run, "-c", "print(open('/proc/net/dev').read())").count("eth0") == 1
