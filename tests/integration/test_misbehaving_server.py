from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from stdio_client import StdioClient, python_server, stdio_client

SERVER = Path(__file__).parents[1] / "servers" / "misbehaving.py"
Start = Callable[..., StdioClient]
# Long enough for an answer that comes, short enough to wait for one that never does.
SHORT = 0.3


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *arguments, env=None: stack.enter_context(stdio_client(python_server(SERVER, *arguments), env))


def test_docstring_names_every_mode(start: Start) -> None:
    client = start("no-such-mode")
    assert client.wait() == 1
    modes = client.stderr().partition("there are: ")[2].strip().split(", ")
    assert len(modes) == 25
    heading = SERVER.read_text().partition("Tools:")[0]
    assert [mode for mode in modes if not re.search(rf"\b{mode}\b", heading)] == []


# --- good --------------------------------------------------------------------------------------------------


def test_good_speaks_the_revision_it_is_asked_for(start: Start) -> None:
    assert start("good").initialize("2025-03-26")["protocolVersion"] == "2025-03-26"


def test_good_lists_its_tools_and_answers_ping_and_refuses_the_unknown(start: Start) -> None:
    client = start("good")
    names = [tool["name"] for tool in client.ask("tools/list")["result"]["tools"]]
    assert names == ["echo", "whoami", "sleep", "crash", "big", "env", "record", "tally", "progress"]
    assert client.ask("ping")["result"] == {}
    assert client.ask("server/discover")["error"]["code"] == -32601
    assert client.ask("tools/call", {"name": "nope"})["error"]["code"] == -32602
    assert client.call("echo")["isError"] is True


def test_good_echoes_text_outside_ascii(start: Start) -> None:
    assert start("good").text("echo", text="naïve 道具 🔧") == "naïve 道具 🔧"


def test_good_whoami_differs_between_processes(start: Start) -> None:
    assert start("good").text("whoami") != start("good").text("whoami")


def test_good_answers_while_it_sleeps(start: Start) -> None:
    client = start("good")
    client.send("tools/call", {"name": "sleep", "arguments": {"ms": 60_000}}, "long")
    assert client.text("echo", text="awake") == "awake"


def test_good_records_a_cancelled_sleep_and_never_answers_it(start: Start) -> None:
    client = start("good")
    client.send("tools/call", {"name": "sleep", "arguments": {"ms": 60_000}}, "long")
    client.send("notifications/cancelled", {"requestId": "long"})
    while json.loads(client.text("tally")).get("cancelled") != 1:
        pass
    assert not any(json.loads(line)["id"] == "long" for line in client.lines)


def test_good_crashes_with_the_code_it_is_told(start: Start) -> None:
    client = start("good")
    with pytest.raises(EOFError):
        client.call("crash", code=42)
    assert client.wait() == 42


def test_good_answers_with_as_many_bytes_as_asked(start: Start) -> None:
    assert len(start("good").text("big", bytes=300_000)) == 300_000


def test_good_tells_its_environment(start: Start) -> None:
    client = start("good", env={"COLOUR": "blue"})
    assert client.text("env", name="COLOUR") == "blue"
    assert client.call("env", name="SHAPE")["isError"] is True


def test_good_counts_executions_by_token(start: Start) -> None:
    client = start("good")
    for token in ("a", "b", "a"):
        client.call("record", token=token)
    assert json.loads(client.text("tally")) == {"a": 2, "b": 1}


def test_records_in_a_file_outlive_the_process(start: Start, tmp_path: Path) -> None:
    env = {"MISBEHAVING_RECORDS": str(tmp_path / "records")}
    start("good", env=env).call("record", token="a")
    later = start("good", env=env)
    later.call("record", token="a")
    assert json.loads(later.text("tally")) == {"a": 2}


def test_good_reports_progress_as_often_as_asked(start: Start) -> None:
    client = start("good")
    arguments = {"n": 3, "ms": 1}
    client.ask("tools/call", {"name": "progress", "arguments": arguments, "_meta": {"progressToken": 9}})
    *notes, answer = [json.loads(line) for line in client.lines]
    expected = [{"progressToken": 9, "progress": done, "total": 3} for done in (1, 2, 3)]
    assert [note["params"] for note in notes] == expected
    assert answer["result"]["content"][0]["text"] == "3 steps"


def test_good_ends_with_its_input(start: Start) -> None:
    client = start("good")
    client.send("tools/call", {"name": "sleep", "arguments": {"ms": 60_000}}, 1)
    client.end_input()
    assert client.wait() == 0


# --- faults of a life --------------------------------------------------------------------------------------


def test_ignores_eof_outlives_its_input_and_dies_of_sigterm(start: Start) -> None:
    client = start("ignores-eof")
    client.initialize()
    client.end_input()
    with pytest.raises(subprocess.TimeoutExpired):
        client.wait(SHORT)
    client.process.terminate()
    assert client.wait() == -15


def test_ignores_eof_and_term_dies_of_sigkill_only(start: Start) -> None:
    client = start("ignores-eof-and-term")
    client.initialize()
    client.process.terminate()
    client.end_input()
    with pytest.raises(subprocess.TimeoutExpired):
        client.wait(SHORT)
    client.process.kill()
    assert client.wait() == -9


def test_slow_init_answers_initialize_late(start: Start) -> None:
    client = start("slow-init", "1")
    client.send("initialize", {}, "init")
    with pytest.raises(TimeoutError):
        client.line(SHORT)
    assert "result" in client.answer("init")


def test_never_initialises_answers_ping_only(start: Start) -> None:
    client = start("never-initialises")
    client.send("initialize", {}, "init")
    assert client.ask("ping")["result"] == {}
    with pytest.raises(TimeoutError):
        client.line(SHORT)


def test_exit_at_start_leaves_three_lines_and_its_code(start: Start) -> None:
    client = start("exit-at-start", "7")
    assert client.wait() == 7
    assert len(client.stderr().splitlines()) == 3
    with pytest.raises(EOFError):
        client.line()


def test_exits_after_init_answers_initialize_and_goes(start: Start) -> None:
    client = start("exits-after-init")
    client.send("initialize", {}, 1)
    assert "result" in client.answer(1)
    assert client.wait() == 0


def test_crash_on_call_executes_and_dies_without_an_answer(start: Start, tmp_path: Path) -> None:
    records = tmp_path / "records"
    client = start("crash-on-call", env={"MISBEHAVING_RECORDS": str(records)})
    client.initialize()
    with pytest.raises(EOFError):
        client.call("record", token="a")
    assert client.wait() == 3
    assert records.read_text() == "a\n"


def test_hang_on_call_answers_ping_only(start: Start) -> None:
    client = start("hang-on-call")
    client.initialize()
    client.send("tools/call", {"name": "echo", "arguments": {"text": "x"}}, "call")
    assert client.ask("ping")["result"] == {}
    with pytest.raises(TimeoutError):
        client.line(SHORT)


def test_slow_reader_leaves_its_input_unread_for_a_while(start: Start) -> None:
    client = start("slow-reader", "1")
    client.initialize()
    client.send("ping", {}, "ping")
    with pytest.raises(TimeoutError):
        client.line(SHORT)
    assert client.answer("ping")["result"] == {}


# --- faults of the stream ----------------------------------------------------------------------------------


def test_banner_stands_before_and_between_the_messages(start: Start) -> None:
    client = start("banner")
    client.send("ping", {}, 1)
    client.send("ping", {}, 2)
    lines = [client.line() for _ in range(7)]
    assert [line[:1] for line in lines] == [b"W", b"", b"{", b"[", b"{", b"[", b"{"]
    assert [json.loads(lines[place])["id"] for place in (4, 6)] == [1, 2]


def test_raw_echo_returns_the_arguments_as_they_were_written(start: Start) -> None:
    client = start("raw-echo", "3")
    client.initialize()
    raw = '{"b": 1.50,"a":"\\ud800 \u200d","a":1E400}'.encode()
    call = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":%s}}\n' % raw
    client.send_bytes(call)
    assert client.line() == b'{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":%s}}' % raw


def test_starved_helper_answers_after_its_helper_has_ended(start: Start) -> None:
    client = start("starved-helper", "1")
    assert client.text("echo", text="still here") == "still here"
    assert "the helper ended with 0" in client.stderr()


@pytest.mark.parametrize(
    ("method", "options"), [("tools/call", ["500000"]), ("tools/list", ["500000", "tools/list"])]
)
def test_huge_line_has_exactly_the_size_it_is_told(start: Start, method: str, options: list[str]) -> None:
    client = start("huge-line", *options)
    client.initialize()
    client.ask(method, {"name": "whoami"})
    assert len(client.lines[-1]) + 1 == 500_000


def test_endless_line_never_ends(start: Start) -> None:
    client = start("endless-line")
    client.initialize()
    client.send("tools/call", {"name": "whoami"}, 5)
    received = b""
    while len(received) < 3_000_000:
        received += client.chunk()
    assert b"\n" not in received


def test_endless_line_still_ends_with_its_input(start: Start) -> None:
    client = start("endless-line", "tools/list")
    client.send("tools/list", {}, 5)
    client.chunk()
    client.end_input()
    assert client.wait() == 0


def test_chunked_splits_characters_and_yet_says_the_right_thing(start: Start) -> None:
    client = start("chunked")
    text = "naïve 道具 🔧 " * 5
    client.send("tools/call", {"name": "echo", "arguments": {"text": text}}, 1)
    chunks = [client.chunk()]
    while not chunks[-1].endswith(b"\n"):
        chunks.append(client.chunk())
    assert any(not decodes(chunk) for chunk in chunks)
    assert json.loads(b"".join(chunks))["result"]["content"][0]["text"] == text


def decodes(chunk: bytes) -> bool:
    try:
        chunk.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_stderr_flood_comes_before_each_answer(start: Start) -> None:
    client = start("stderr-flood", "200000")
    client.ask("ping")
    first = len(client.stderr())
    client.ask("ping")
    assert first >= 200_000
    assert len(client.stderr()) >= 2 * 200_000


def test_stderr_flood_blocks_when_nobody_reads_it() -> None:
    argv = python_server(SERVER, "stderr-flood")
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(SHORT)
        process.kill()
        assert process.stdout.read() == b""


def test_bad_json_answers_calls_with_nothing_that_parses(start: Start) -> None:
    client = start("bad-json")
    client.initialize()
    client.send("tools/call", {"name": "whoami"}, 5)
    for line in (client.line(), client.line()):
        with pytest.raises(ValueError):
            json.loads(line)


# --- faults of the protocol --------------------------------------------------------------------------------


def test_early_list_changed_comes_before_the_initialize_answer(start: Start) -> None:
    client = start("early-list-changed")
    client.initialize()
    first, second = (json.loads(line) for line in client.lines)
    assert first["method"] == "notifications/tools/list_changed"
    assert "result" in second


def test_pages_gives_all_tools_in_three_pages(start: Start) -> None:
    client = start("pages")
    page = client.ask("tools/list")["result"]
    pages = [page]
    while "nextCursor" in page:
        page = client.ask("tools/list", {"cursor": page["nextCursor"]})["result"]
        pages.append(page)
    assert [len(page["tools"]) for page in pages] == [3, 3, 3]
    assert len({tool["name"] for page in pages for tool in page["tools"]}) == 9
    assert client.ask("tools/list", {"cursor": "x"})["error"]["code"] == -32602


def test_looping_pages_always_names_the_same_cursor(start: Start) -> None:
    client = start("looping-pages")
    cursors = [client.ask("tools/list", {"cursor": "again"})["result"]["nextCursor"] for _ in range(3)]
    assert cursors == ["again"] * 3


def test_wrong_id_answers_somebody_else_first(start: Start) -> None:
    client = start("wrong-id")
    assert client.text("echo", text="mine") == "mine"
    assert [json.loads(line)["id"] for line in client.lines] == ["nobody-asked", 1]


def test_duplicate_answer_comes_twice(start: Start) -> None:
    client = start("duplicate-answer")
    client.text("echo", text="x")
    client.line()
    assert client.lines[0] == client.lines[1]
