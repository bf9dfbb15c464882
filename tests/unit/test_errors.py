"""What an error tells: what happened, and what to do about it, once."""

from __future__ import annotations

from metamcp.errors import EngineUnavailable, InvalidRequest, RefusedByPolicy, ServerDied


def test_what_to_do_is_told_where_the_text_does_not_say_it() -> None:
    error = EngineUnavailable("Docker engine at unix:///x: No such file or directory", "start the engine.")
    assert error.told == "Docker engine at unix:///x: No such file or directory. Start the engine."
    assert error.as_jsonrpc()["message"] == error.told
    assert error.again().told == error.told
    refused = RefusedByPolicy("server 'a': --privileged is refused", rule="privileged", advice="remove it")
    assert refused.told == "server 'a': --privileged is refused. Remove it"


def test_what_the_text_says_already_is_not_told_twice() -> None:
    died = ServerDied("it died\nRaise limits.memory.", server="a", advice="raise limits.memory")
    assert died.told == died.text == died.as_jsonrpc()["message"]
    assert InvalidRequest("no").told == "no"
