from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from gateway_process import eventually, processes_with

from metamcp.config.images import decide
from metamcp.config.model import Allowlist, Cosign, ImageRule, Scan, ServerSpec
from metamcp.errors import EngineUnavailable, RefusedByPolicy
from metamcp.runtime.facts import ImageFacts
from metamcp.runtime.screening.admission import RETRY_SECONDS, ImageAdmission
from metamcp.runtime.screening.findings import Finding
from metamcp.runtime.screening.ledger import FILE_NAME, Ledger, Record, Report
from metamcp.runtime.screening.programs import ProgramFailedError, Programs
from metamcp.runtime.screening.screen import Order, cosign_argv, signed_reference, verify

REFERENCE = "docker.io/library/s:1"
OLD, NEW = (ImageFacts(f"sha256:{digit * 64}", (), "", "1", 1, "amd64") for digit in "ab")
BAD = Finding("high", "vulnerability", "CVE-1", "x 1, fixed in 2")


class House:
    """One image, one rule, and a report that a test chooses."""

    def __init__(self, folder: Path, **rule: Any) -> None:
        self.folder, self.now = folder, 1000.0
        self.facts: ImageFacts | None = OLD
        self.report = Report()
        self.looked: list[Order] = []
        self.away = False
        self.allowlist = Allowlist((ImageRule("s:*", **rule),))
        self.restart()

    def restart(self) -> None:
        self.ledger = Ledger(self.folder)
        self.admission = ImageAdmission(self.ledger, self.facts_of, self.look, lambda: self.now)

    def facts_of(self, _reference: str) -> ImageFacts | None:
        if self.away:
            raise EngineUnavailable("away")
        return self.facts

    def look(self, order: Order) -> Report:
        self.looked.append(order)
        return dataclasses.replace(self.report, at=self.now)

    def admit(self) -> str:
        return self.admission.admit(ServerSpec("s"), self.allowlist, decide(self.allowlist, "s:1"), REFERENCE)

    def refused(self) -> str:
        with pytest.raises(RefusedByPolicy) as caught:
            self.admit()
        assert caught.value.data["advice"] and caught.value.data["server"] == "s"
        return str(caught.value.data["rule"])


def test_first_image_of_a_tag_is_recorded_and_outlives_a_restart(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert house.admit() == REFERENCE
    house.restart()
    assert house.ledger.record(REFERENCE) == Record(OLD.id, 1000.0)


def test_drift_is_told_once_and_refuses_nothing_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = House(tmp_path)
    house.admit()
    house.facts = NEW
    assert [house.admit(), house.admit()] == [REFERENCE] * 2
    assert [record.message for record in caplog.records].count("image-drift") == 1
    assert house.ledger.record(REFERENCE) == Record(OLD.id, 1000.0)


def test_pinned_tag_that_names_another_image_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    house = House(tmp_path, pin=True)
    assert house.admit() == OLD.id
    house.facts = NEW
    assert house.refused() == "image-drift"
    house.restart()
    assert house.refused() == "image-drift"
    house.ledger.accept(REFERENCE, NEW.id, 2000.0)
    assert house.admit() == NEW.id


def test_image_that_must_be_judged_is_never_fetched_unseen(tmp_path: Path) -> None:
    house = House(tmp_path, pin=True)
    house.facts = None
    assert house.refused() == "image-absent"
    lax = House(tmp_path)
    lax.facts = None
    assert lax.admit() == REFERENCE


def test_engine_that_is_away_stops_only_what_must_be_judged(tmp_path: Path) -> None:
    strict, lax = House(tmp_path, pin=True), House(tmp_path)
    strict.away = lax.away = True
    assert lax.admit() == REFERENCE
    with pytest.raises(EngineUnavailable):
        strict.admit()


def test_finding_refuses_from_the_threshold_on(tmp_path: Path) -> None:
    house = House(tmp_path, scan=Scan(block_at="critical"))
    house.report = Report((BAD,))
    assert house.admit() == OLD.id
    house.allowlist = Allowlist((ImageRule("s:*", scan=Scan(block_at="high")),))
    assert house.refused() == "image-vulnerabilities"
    house.facts, house.report = NEW, Report((dataclasses.replace(BAD, kind="image"),))
    assert house.refused() == "image-findings"


def test_report_is_made_once_for_each_image_and_kept(tmp_path: Path) -> None:
    house = House(tmp_path, scan=Scan(block_at="high"))
    house.admit()
    house.restart()
    house.admit()
    assert len(house.looked) == 1
    house.facts = NEW
    house.admit()
    assert [order.facts.id for order in house.looked] == [OLD.id, NEW.id]


def test_start_does_not_wait_for_a_report_that_cannot_refuse(tmp_path: Path) -> None:
    house = House(tmp_path, scan=Scan(command=("x", "{image}")))
    house.admit()
    assert not house.looked
    house.admission.prepare(ServerSpec("s"), house.allowlist, decide(house.allowlist, "s:1"), REFERENCE)
    assert len(house.looked) == 1


@pytest.mark.parametrize(("required", "rule"), [(True, "image-scan"), (False, "")])
def test_failed_scan_refuses_only_where_it_is_required_and_is_tried_again_later(
    tmp_path: Path, required: bool, rule: str
) -> None:
    house = House(tmp_path, scan=Scan(command=("x", "{image}"), block_at="high", required=required))
    house.report = Report(unscanned="no database")
    for _ in range(2):
        assert (house.refused() if required else house.admit()) == (rule or OLD.id)
    assert len(house.looked) == 1
    house.now += RETRY_SECONDS
    house.report = Report()
    assert house.admit() == OLD.id and len(house.looked) == 2


def test_image_without_a_valid_signature_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path, cosign=Cosign(key="/k"))
    house.report = Report(unsigned="no signatures found")
    assert house.refused() == "image-signature"


def test_dry_run_tells_at_each_start_and_refuses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = House(tmp_path, pin=True, dry_run=True)
    house.admit()
    house.facts = NEW
    with caplog.at_level(logging.WARNING):
        assert [house.admit(), house.admit()] == [REFERENCE] * 2
    told = [record for record in caplog.records if record.message == "image-would-be-denied"]
    assert len(told) == 2


def test_dry_run_of_all_lets_an_image_without_a_rule_run_and_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path)
    house.allowlist = Allowlist((), dry_run=True)
    assert "it would be denied, because the allowlist is empty" in decide(house.allowlist, "s:1").would_deny
    assert house.admit() == REFERENCE
    assert "image-would-be-denied" in [record.message for record in caplog.records]


def test_dry_run_allows_no_reference_that_nobody_understands() -> None:
    assert not decide(Allowlist((), dry_run=True), "UPPER").allowed


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"references": {"a": 1}, "reports": {}}'])
def test_file_that_cannot_be_used_is_told_as_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert Ledger(tmp_path).record(REFERENCE) is None
    assert [(record.message, record.levelname) for record in caplog.records] == [("images-not-read", "ERROR")]


# --- external programs -----------------------------------------------------------------------------------------


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_program_gives_its_output_and_the_end_of_its_errors() -> None:
    code = "import sys; print('out'); print('x' * 999 + 'why', file=sys.stderr); sys.exit(3)"
    ran = Programs().run(python(code), {}, 20, 99)
    assert (ran.code, ran.output) == (3, b"out\n")
    assert ran.tail.endswith("why") and len(ran.tail) <= 600


@pytest.mark.parametrize(
    ("argv", "seconds", "text"),
    [
        (["/no/such/program"], 20.0, "cannot be started"),
        (python("import time; time.sleep(60)"), 0.3, "in time"),
        (python("import os, time; os.close(1); time.sleep(60)"), 0.5, "in time"),
        (python("while True: print('x' * 9999)"), 20.0, "wrote more than"),
    ],
)
def test_program_that_is_not_there_or_does_not_end_is_given_up(argv: list[str], seconds: float, text: str) -> None:
    with pytest.raises(ProgramFailedError, match=text):
        Programs().run(argv, {}, seconds, 1 << 20)


def test_no_program_outlives_the_gateway_nor_what_it_started(tmp_path: Path) -> None:
    programs, told, begun = Programs(), [], tmp_path / "begun"
    os.mkfifo(begun)
    code = f"import os, time; os.fork() and open({str(begun)!r}, 'w').close(); time.sleep(60)"

    def run() -> None:
        with pytest.raises(ProgramFailedError) as failed:
            programs.run(python(code), {}, 60, 99)
        told.append(str(failed.value))

    thread = threading.Thread(target=run)
    thread.start()
    begun.read_bytes()  # ends when both are there
    assert processes_with(str(begun))
    programs.close()
    thread.join(10)
    assert "ended with the gateway" in told[0]
    eventually(lambda: not processes_with(str(begun)), "both are gone")
    with pytest.raises(ProgramFailedError, match="shutting down"):
        programs.run(python("pass"), {}, 60, 99)


def test_cosign_is_asked_about_the_digest_of_the_very_repository() -> None:
    other, mine = f"example.com/s@sha256:{'1' * 64}", f"s@sha256:{'2' * 64}"
    facts = dataclasses.replace(OLD, repo_digests=(other, mine))
    order = Order(REFERENCE, facts, Cosign(key="/k"), Scan())
    assert signed_reference(order) == f"docker.io/library/s@sha256:{'2' * 64}"
    assert signed_reference(dataclasses.replace(order, facts=OLD)) == ""


@pytest.mark.parametrize(
    ("cosign", "argv"),
    [
        (Cosign(key="/k"), ["cosign", "verify", "--key=/k", "--output=json", "r@d"]),
        (Cosign(identity="me", issuer="https://i", program="/c"),
         ["/c", "verify", "--certificate-identity=me", "--certificate-oidc-issuer=https://i", "--output=json", "r@d"]),
        (Cosign(key="/k", tlog=False),
         ["cosign", "verify", "--key=/k", "--insecure-ignore-tlog=true", "--output=json", "r@d"]),
    ],
)  # fmt: skip
def test_cosign_gets_one_list_of_arguments(cosign: Cosign, argv: list[str]) -> None:
    assert cosign_argv(cosign, "r@d") == argv


def test_cosign_that_is_missing_refuses_or_has_no_digest_is_told(tmp_path: Path) -> None:
    program = tmp_path / "cosign"
    assert "cannot be started" in verify(Programs(), Cosign(key="/k", program=str(program)), "r@d", {})
    program.write_text(f"#!{sys.executable} -IS\nimport sys\nsys.exit('Error: no matching signatures')\n")
    program.chmod(0o755)
    assert "no matching signatures" in verify(Programs(), Cosign(key="/k", program=str(program)), "r@d", {})
    program.write_text(f"#!{sys.executable} -IS\n")
    assert verify(Programs(), Cosign(key="/k", program=str(program)), "r@d", {}) == ""
    assert "no digest" in verify(Programs(), Cosign(key="/k", program=str(program)), "", {})
