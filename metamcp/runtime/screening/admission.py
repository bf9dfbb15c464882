"""The last question before a start: is it the image that this reference named before, and what speaks against it?"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from metamcp.config.images import Verdict
from metamcp.config.model import SEVERITIES, Allowlist, ImageRule, Scan, ServerSpec
from metamcp.errors import EngineUnavailable, RefusedByPolicy
from metamcp.runtime.facts import ImageFacts
from metamcp.runtime.screening.findings import Finding
from metamcp.runtime.screening.ledger import Ledger, Record, Report
from metamcp.runtime.screening.screen import Order
from metamcp.telemetry import logs

RETRY_SECONDS = 60.0
"""Before a signature or a scan that failed is tried again."""

_log = logs.get("runtime.admission")


@dataclass(frozen=True, slots=True)
class Objection:
    rule: str
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Known:
    """``objections``: what is refused, or would be but for a dry run."""

    record: Record | None
    report: Report | None
    verified: bool  # a signature is asked for
    objections: tuple[str, ...]

    def as_json(self, image: str) -> dict[str, Any]:
        """``image``: the id that the reference names now."""
        record, report = self.record, self.report
        signature = None if not self.verified or report is None else report.unsigned or "verified"
        return {
            "recorded": record.id if record else None,
            "recordedAt": record.at if record else None,
            "drift": record is not None and record.id != image,
            "signature": signature,
            "scannedAt": report.at if report else None,
            "unscanned": (report.unscanned or None) if report else None,
            "findings": [dataclasses.asdict(finding) for finding in report.findings] if report else [],
            "objections": list(self.objections),
        }


class ImageAdmission:
    """For every thread but the reactor's. ``look`` makes a report; while one is made, whoever needs the same waits."""

    def __init__(
        self,
        ledger: Ledger,
        facts_of: Callable[[str], ImageFacts | None],
        look: Callable[[Order], Report],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._facts_of = facts_of
        self._look = look
        self._clock = clock
        self._making: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._told: set[tuple[str, str]] = set()

    def admit(self, spec: ServerSpec, allowlist: Allowlist, verdict: Verdict, reference: str) -> str:
        """What the engine is to be given for ``reference``: the id, where something was judged that only holds for
        this image. Blocks; for a report only where one can refuse. Raises RefusedByPolicy, and EngineUnavailable
        where the rule needs an answer of the engine."""
        rule = verdict.rule or ImageRule("*")
        cosign, scan = allowlist.judges(rule)
        binding = rule.pin or cosign is not None or scan.block_at is not None or scan.required
        dry = rule.dry_run or allowlist.dry_run
        if verdict.would_deny:
            self._would_deny(spec, reference, "image-allowlist", verdict.reason)
        try:
            facts = self._facts_of(reference)
        except EngineUnavailable:
            if binding and not dry:
                raise
            return reference
        if facts is None:
            objections = [_absent(reference)] if binding else []
        else:
            self._meet(reference, facts)
            order = Order(reference, facts, cosign, scan)
            report = self._report(order) if binding and not dry else self._ledger.report(order.key)
            objections = self._objections(rule, reference, facts, report, scan)
        for objection in objections:
            if not dry:
                raise _refusal(spec, reference, objection)
            self._would_deny(spec, reference, objection.rule, objection.text)
        return facts.id if binding and facts and not dry else reference

    def prepare(self, spec: ServerSpec, allowlist: Allowlist, verdict: Verdict, reference: str) -> str:
        """As ``admit``, before anybody wants to start it: what an image is said to be is known by then, and nobody is
        refused here. Blocks, as long as the configured programs may take. Raises EngineUnavailable."""
        rule, facts = verdict.rule or ImageRule("*"), self._facts_of(reference)
        if facts is not None:
            self._meet(reference, facts)
            self._report(Order(reference, facts, *allowlist.judges(rule)))
        return reference

    def known(self, allowlist: Allowlist, verdict: Verdict, reference: str, facts: ImageFacts) -> Known:
        """What is known already of the image that ``reference`` names. Does not block."""
        rule = verdict.rule or ImageRule("*")
        cosign, scan = allowlist.judges(rule)
        report = self._ledger.report(Order(reference, facts, cosign, scan).key)
        objections = self._objections(rule, reference, facts, report, scan)
        denied = [verdict.would_deny] if verdict.would_deny else []
        return Known(
            self._ledger.record(reference), report, cosign is not None,
            tuple(denied + [f"{item.rule}: {item.text}" for item in objections]),
        )  # fmt: skip

    def _meet(self, reference: str, facts: ImageFacts) -> None:
        record = self._ledger.meet(reference, facts.id, self._clock())
        if record.id != facts.id:
            self._tell_drift(reference, record, facts.id)

    def _objections(
        self, rule: ImageRule, reference: str, facts: ImageFacts, report: Report | None, scan: Scan
    ) -> list[Objection]:
        record = self._ledger.record(reference)
        drifted = [_drift(reference, record, facts.id)] if rule.pin and record and record.id != facts.id else []
        return [*drifted, *objections_to(report or Report(), scan)]

    def _report(self, order: Order) -> Report:
        with self._lock:
            making = self._making.setdefault(order.key, threading.Lock())
        with making:
            known = self._ledger.report(order.key)
            if known is not None and (known.complete or self._clock() - known.at < RETRY_SECONDS):
                return known
            report = self._look(order)
            self._ledger.file(order.key, report)
        worst = report.findings[0].severity if report.findings else None
        _log.info(
            "image-screened",
            extra=logs.fields(
                image=order.reference, id=order.facts.id, findings=len(report.findings), worst=worst,
                unsigned=report.unsigned or None, unscanned=report.unscanned or None,
            ),
        )  # fmt: skip
        return report

    def _tell_drift(self, reference: str, record: Record, now: str) -> None:
        if (reference, now) not in self._told:
            self._told.add((reference, now))
            _log.warning("image-drift", extra=logs.fields(image=reference, recorded=record.id, now=now))

    def _would_deny(self, spec: ServerSpec, reference: str, rule: str, text: str) -> None:
        """At each start: a dry run must not be forgotten."""
        fields = logs.fields(server=spec.name, image=reference, rule=rule, because=text)
        _log.warning("image-would-be-denied", extra=fields)


def objections_to(report: Report, scan: Scan) -> Iterator[Objection]:
    """Pure."""
    if report.unsigned:
        yield Objection("image-signature", report.unsigned, "run an image that the configured signer has signed")
    if report.unscanned and scan.required:
        text = f"it could not be scanned: {report.unscanned}"
        yield Objection("image-scan", text, 'mend scan.command in allowlist.json, or set scan "required" to false')
    if scan.block_at is None:
        return
    bad = [finding for finding in report.findings if finding.rank >= SEVERITIES.index(scan.block_at)]
    for kind, rule in (("vulnerability", "image-vulnerabilities"), ("image", "image-findings")):
        if of_kind := [finding for finding in bad if finding.kind == kind]:
            yield _too_bad(rule, of_kind, scan)


def _too_bad(rule: str, findings: list[Finding], scan: Scan) -> Objection:
    shown = "; ".join(f"{finding.severity} {finding.rule}: {finding.text}" for finding in findings[:3])
    more = f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
    text = f"it has {len(findings)} finding(s) of severity {scan.block_at} or worse: {shown}{more}"
    return Objection(rule, text, "use a newer image, or change scan.blockAt in allowlist.json")


def _drift(reference: str, record: Record, now: str) -> Objection:
    text = f"{reference} names another image than before: {now[:19]} instead of {record.id[:19]}"
    return Objection("image-drift", text, "if the new one is meant, run: python -m metamcp images accept SERVER")


def _absent(reference: str) -> Objection:
    text = f"the engine does not have {reference}, and its rule demands that the image is judged before it runs"
    return Objection("image-absent", text, f"fetch it first: docker pull {reference}")


def _refusal(spec: ServerSpec, reference: str, objection: Objection) -> RefusedByPolicy:
    advice = objection.advice.replace("SERVER", spec.name)
    return RefusedByPolicy(
        f"server {spec.name!r}: its image is refused: {objection.text}; {advice}",
        server=spec.name, rule=objection.rule, advice=advice, image=reference,
    )  # fmt: skip
