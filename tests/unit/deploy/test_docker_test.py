"""test-docker-in-docker.sh: what it asks, what it says of the answers, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy import docker_test

ROOT = Path(__file__).parents[3]
KEY = "mmcp_canary-of-the-operator"
ENGINE = {"version": "20.10", "apiVersion": "1.41"}
PASSED = {"name": "socket", "status": "pass", "seconds": 0.1, "detail": "/s", "hint": ""}
SKIPPED = {"name": "image", "status": "skip", "seconds": 0, "detail": "none was named", "hint": ""}
FAILED = {"name": "limits", "status": "fail", "seconds": 0.1, "detail": "no memory limit", "hint": "Use cgroup v2."}
INFO = {"runtime": "docker-cli", "containers": [], "images": [{"server": "git", "reference": "g", "present": False}]}
Answers = dict[str, tuple[int, dict[str, Any]]]
GOOD: Answers = {
    "/docker-test/check": (200, {"accessible": True, "engine": ENGINE}),
    "/docker-test/test": (200, {"ok": True, "checks": [PASSED, SKIPPED]}),
    "/docker-test/info": (200, INFO),
}
FINE = [sys.executable, "-c", f"print({json.dumps({'ok': True, 'checks': [PASSED]})!r})"]


@contextmanager
def gateway(answers: Answers, keys: list[str] | None = None, location: str = "") -> Iterator[docker_test.Gateway]:
    """One that answers so; ``keys`` collects what it is shown."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if keys is not None:
                keys.append(self.headers.get("X-API-Key", ""))
            status, found = answers.get(self.path, (404, {}))
            body = json.dumps(found).encode()
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield docker_test.Gateway(f"http://127.0.0.1:{server.server_port}/", KEY)
        finally:
            server.shutdown()
            thread.join()


def said(asked: docker_test.Gateway, doctor: list[str] = FINE) -> tuple[int, str]:
    lines: list[str] = []
    status = docker_test.run(asked, doctor, lines.append)
    text = "\n".join(lines)
    assert KEY not in text
    return status, text


def test_every_check_is_told_with_its_result_and_all_is_well() -> None:
    keys: list[str] = []
    with gateway(GOOD, keys) as asked:
        status, text = said(asked)
    assert status == 0 and text.endswith("all is well")
    assert "PASS  /docker-test/check: Docker 20.10, API 1.41" in text
    assert text.count("PASS  socket: /s") == 2, "the gateway's and doctor's"
    assert "SKIP  image: none was named" in text
    assert "images not on the engine of: git" in text
    assert keys == [KEY] * 3


def test_failed_check_is_told_with_what_to_do_and_counts() -> None:
    answers = GOOD | {"/docker-test/test": (503, {"ok": False, "checks": [PASSED, FAILED]})}
    with gateway(answers) as asked:
        status, text = said(asked)
    assert status == 1
    assert "FAIL  limits: no memory limit\n        Use cgroup v2." in text
    assert text.endswith("2 failed"), "the check and the whole"


def test_engine_that_cannot_be_used_is_told_with_the_gateways_hint() -> None:
    found = {"accessible": False, "error": "permission denied", "hint": "Add the group 105."}
    nothing = (503, {"error": {"message": "the engine is away"}})
    with gateway({"/docker-test/check": (503, found), "/docker-test/info": nothing}) as asked:
        status, text = said(asked)
    assert status == 1
    assert "FAIL  /docker-test/check: permission denied\n        Add the group 105." in text
    assert "FAIL  /docker-test/info: the engine is away" in text


@pytest.mark.parametrize("status", [401, 403])
def test_gateway_with_keys_asks_for_one(status: int) -> None:
    with gateway({"/docker-test/check": (status, {"error": {"message": "no"}})}) as asked:
        code, text = said(asked)
    assert code == 1
    assert f"refused with {status}" in text and "METAMCP_ADMIN_KEY" in text
    assert "/docker-test/test" not in text, "the others would say the same"


def test_something_else_at_the_port_is_no_gateway_and_gets_no_second_question() -> None:
    keys: list[str] = []
    with gateway({}, keys) as asked:
        status, text = said(asked)
    assert status == 1 and "answered with 404" in text
    assert len(keys) == 1


def test_gateway_that_refuses_everybody_says_why() -> None:
    with gateway({"/docker-test/check": (503, {"error": {"message": "it cannot read its API keys"}})}) as asked:
        assert "FAIL  /docker-test/check: it cannot read its API keys" in said(asked)[1]


def test_doctor_that_does_not_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_test, "DOCTOR_SECONDS", 0.2)
    (found,) = docker_test.asked_of_doctor([sys.executable, "-c", "import time; time.sleep(60)"])
    assert (found.status, found.detail) == ("fail", "not done within 0.2 s")


def test_key_does_not_follow_a_redirect() -> None:
    keys: list[str] = []
    with gateway(GOOD, keys) as other, gateway(
        {"/docker-test/check": (302, {})}, location=f"{other.url}/docker-test/check"
    ) as asked:  # fmt: skip
        assert said(asked)[0] == 1
    assert keys == []


def test_without_a_gateway_doctor_alone_decides_and_that_is_said() -> None:
    nobody = docker_test.Gateway("http://127.0.0.1:1", KEY)
    status, text = said(nobody)
    assert status == 0 and "no gateway answers" in text and "doctor alone" in text
    failing = [sys.executable, "-c", f"print({json.dumps({'ok': False, 'checks': [FAILED]})!r})"]
    status, text = said(nobody, failing)
    assert status == 1 and "1 failed" in text


def test_doctor_that_cannot_run_is_a_failure_with_its_last_words() -> None:
    nobody = docker_test.Gateway("http://127.0.0.1:1", "")
    status, text = said(nobody, [sys.executable, "-c", "import sys; sys.exit('No module named click')"])
    assert status == 1 and "FAIL  doctor: No module named click" in text
    status, text = said(nobody, ["/nonexistent/python"])
    assert status == 1 and "FAIL  doctor" in text


def test_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert docker_test.admin_key("", {"METAMCP_ADMIN_KEY": f" {KEY} "}) == KEY
    assert docker_test.admin_key("", {"METAMCP_ADMIN_KEY_FILE": str(file), "METAMCP_ADMIN_KEY": "other"}) == KEY
    assert docker_test.admin_key(str(file), {}) == KEY
    assert docker_test.admin_key("", {}) == ""


@pytest.mark.parametrize("arguments", [["-k", "/nonexistent/key"], ["-u", "file:///etc/passwd"], ["-u", "http://a@b"]])
def test_wrong_call_ends_with_2_and_names_what_is_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        docker_test.main(arguments)
    assert ended.value.code == 2
    assert "cannot be read" in (shown := capsys.readouterr().err) or "http://HOST:PORT" in shown


@pytest.mark.parametrize(
    ("bind", "url"), [("0.0.0.0:80", "http://127.0.0.1:80"), ("[::]:80", "http://[::1]:80"), ("a:1", "http://a:1")]
)
def test_it_asks_the_gateway_of_its_own_environment(bind: str, url: str) -> None:
    assert docker_test.own_address({"METAMCP_BIND": bind}) == url


def test_script_finds_its_python_from_any_folder_and_documents_its_options(tmp_path: Path) -> None:
    script = str(ROOT / "test-docker-in-docker.sh")
    done = subprocess.run([script, "-h"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    for word in ("--url", "--key-file", "METAMCP_ADMIN_KEY", "doctor", "Exit status"):
        assert word in done.stdout
