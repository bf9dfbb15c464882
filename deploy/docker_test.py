"""What ``test-docker-in-docker.sh`` does: asks a running gateway and ``doctor`` whether Docker can be used from here.

The list of checks is theirs: this only asks, prints, and counts what failed. Standard library only, so that it also
runs where the gateway's packages are not; then ``doctor`` says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CHECK_SECONDS, TEST_SECONDS, DOCTOR_SECONDS = 5.0, 65.0, 65.0
MOST_BYTES = 4 * 1024 * 1024
KEY, KEY_FILE = "METAMCP_ADMIN_KEY", "METAMCP_ADMIN_KEY_FILE"
BY_HAND = "Run python -m metamcp doctor by hand: it has bounds of its own."
NEEDS_PACKAGES = "It needs the gateway's packages: run this in the image, or after make run."
NEEDS_KEY = f"The gateway has API keys: give one with the scope admin in {KEY}, or its file with -k or in {KEY_FILE}."

Status = Literal["pass", "fail", "skip"]
Json = dict[str, Any]


@dataclass(frozen=True)
class Result:
    name: str
    status: Status
    detail: str
    hint: str = ""

    def lines(self) -> str:
        said = f"  {self.status.upper():4}  {self.name}: {self.detail}"
        return f"{said}\n        {self.hint}" if self.hint else said


class Unreachable(Exception):
    """Nothing answers at the gateway's address."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is for the gateway, and for nobody whom it may name."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Gateway:
    """``key``: an API key with the scope admin, or empty. It is sent in a header and never printed."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._headers = {"X-API-Key": key} if key else {}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)

    def get(self, path: str, seconds: float) -> tuple[int, Json]:
        """Status and document, {} where there is none. Raises Unreachable."""
        request = urllib.request.Request(self.url + path, headers=self._headers)
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                return answer.status, document(answer.read(MOST_BYTES))
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, document(refused.read(MOST_BYTES))
        except OSError as error:
            raise Unreachable(str(getattr(error, "reason", "") or error)) from None


def document(body: bytes) -> Json:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# --- what is asked -----------------------------------------------------------------------------------------


def asked_of_gateway(gateway: Gateway) -> Iterator[Result]:
    """``/docker-test/check``, ``/test`` and ``/info``, as the supervisor sees it. Raises Unreachable."""
    status, found = gateway.get("/docker-test/check", CHECK_SECONDS)
    if refused := refusal(status, found):
        yield refused
        return
    yield outcome("/docker-test/check", found.get("accessible") is True, engine_text(found), found)
    status, found = gateway.get("/docker-test/test", TEST_SECONDS)
    yield from results(found.get("checks", ()))
    yield outcome("/docker-test/test", found.get("ok") is True, f"{len(found.get('checks', ()))} checks", found)
    status, found = gateway.get("/docker-test/info", CHECK_SECONDS * 4)
    yield outcome("/docker-test/info", status == 200, info_text(found), found)


def refusal(status: int, found: Json) -> Result | None:
    if status in (401, 403):
        return Result("/docker-test/check", "fail", f"refused with {status}", NEEDS_KEY)
    if "accessible" not in found and isinstance(found.get("error"), dict):
        return outcome("/docker-test/check", False, "", found)
    if "accessible" not in found:
        hint = "What answers there is no gateway of this version, or does not serve the name in the address: -u URL."
        return Result("/docker-test/check", "fail", f"answered with {status}", hint)
    return None


def outcome(name: str, good: bool, text: str, found: Json) -> Result:
    """``text`` where it is good, else the error and the hint that the gateway gave."""
    if good:
        return Result(name, "pass", text)
    error = found.get("error", "something above failed")
    said = error.get("message", "") if isinstance(error, dict) else str(error)
    return Result(name, "fail", said, str(found.get("hint", "")))


def engine_text(found: Json) -> str:
    engine = found.get("engine") or {}
    return f"Docker {engine.get('version')}, API {engine.get('apiVersion')}"


def info_text(found: Json) -> str:
    missing = [image["server"] for image in found.get("images", ()) if image["reference"] and not image["present"]]
    return (
        f"runtime {found.get('runtime')}, {len(found.get('containers', ()))} containers of this gateway, "
        + (f"images not on the engine of: {', '.join(missing)}" if missing else "every image is on the engine")
    )  # fmt: skip


def results(checks: Sequence[Json]) -> list[Result]:
    return [Result(check["name"], check["status"], check["detail"], check["hint"]) for check in checks]


def asked_of_doctor(argv: Sequence[str]) -> list[Result]:
    """The same checks from this process's own place; one failure where they cannot be made."""
    try:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said, complaint = process.communicate(timeout=DOCTOR_SECONDS)
    except subprocess.TimeoutExpired:
        # It is another user than root, which in a container may not end it; then it ends by its own bounds.
        with suppress(PermissionError, subprocess.TimeoutExpired):
            process.kill()
            process.communicate(timeout=CHECK_SECONDS)
        return [Result("doctor", "fail", f"not done within {DOCTOR_SECONDS:g} s", BY_HAND)]
    except OSError as error:
        return [Result("doctor", "fail", str(error), BY_HAND)]
    found = document(said)
    if "checks" in found:
        return results(found["checks"])
    last = (complaint.decode("utf-8", "replace").strip() or f"it ended with {process.returncode}").splitlines()[-1]
    return [Result("doctor", "fail", last, NEEDS_PACKAGES)]


# --- how it is said ----------------------------------------------------------------------------------------


def report(heading: str, found: Iterator[Result] | Sequence[Result], say: Callable[[str], None]) -> int:
    """Print each result as it comes; how many failed."""
    say(heading)
    failed = 0
    for result in found:
        say(result.lines())
        failed += result.status == "fail"
    return failed


def run(gateway: Gateway, doctor: Sequence[str], say: Callable[[str], None]) -> int:
    """The exit status."""
    try:
        failed = report(f"The gateway at {gateway.url}, as its supervisor sees Docker:", asked_of_gateway(gateway), say)
    except Unreachable as reason:
        say(f"  SKIP  no gateway answers ({reason}): what follows is doctor alone")
        failed = 0
    failed += report("doctor, as this command sees Docker:", asked_of_doctor(doctor), say)
    say(f"{failed} failed" if failed else "all is well")
    return 1 if failed else 0


def own_address(environ: Mapping[str, str]) -> str:
    """Of the gateway with this environment, as seen from its own machine."""
    host, _, port = (environ.get("METAMCP_BIND") or "127.0.0.1:12009").rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}.get(host, host)
    return f"http://{host}:{port}"


def admin_key(file: str, environ: Mapping[str, str]) -> str:
    """Raises OSError."""
    path = file or environ.get(KEY_FILE, "")
    return Path(path).read_text(encoding="utf-8").strip() if path else environ.get(KEY, "").strip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "test-docker-in-docker.sh",
        description="Can the gateway use Docker from where it runs? Asks /docker-test/check, /test and /info of the "
        "running gateway, then python -m metamcp doctor, and says of each check whether it passed and what to do.",
        epilog=f"An API key with the scope admin, where there are keys: in {KEY}, or in a file. It is never printed. "
        "Where no gateway answers, doctor alone is asked. Exit status: 0 when nothing failed, 1 when something did, "
        "2 when it was called wrongly.",
    )
    parser.add_argument("-u", "--url", default=own_address(os.environ), help="of the gateway (default: %(default)s)")
    parser.add_argument("-k", "--key-file", default="", help=f"file with the key (default: {KEY_FILE}, {KEY})")
    chosen = parser.parse_args(arguments)
    if not chosen.url.startswith(("http://", "https://")) or "@" in chosen.url:
        parser.error("the address of a gateway is written http://HOST:PORT")
    try:
        key = admin_key(chosen.key_file, os.environ)
    except OSError as error:
        parser.error(f"the file of the key cannot be read: {error.strerror}")
    doctor = [sys.executable, "-m", "metamcp", "doctor", "--json"]
    return run(Gateway(chosen.url, key), doctor, lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(main())
