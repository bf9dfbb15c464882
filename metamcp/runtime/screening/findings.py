"""What the configuration and the history of an image say against it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from metamcp.config.model import SEVERITIES, Severity
from metamcp.runtime.facts import ImageFacts

OLD_DAYS = 365
_SHOWN = 4  # characters of a secret, so that its owner knows which one it is

_SECRET_NAME = re.compile(r"(?i)(passw(or)?d|passphrase|secret|token|api_?key|private_?key|credential)")
_HARMLESS_NAME = re.compile(r"(?i)(_file|_path|_url|_dir|_sha256|_gpg_key|gpg_key|_max|_count|_limit)$")
_SECRET_VALUE = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}"
    r"|\bAIza[0-9A-Za-z_-]{35}\b|\bnpm_[A-Za-z0-9]{36}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
)
_ASSIGNMENT = re.compile(r"\b([A-Za-z_][A-Za-z0-9_]*)=(\"[^\"]+\"|'[^']+'|[^\s\"']+)")
_REMOTE_ADD = re.compile(r"\bADD\b[^\n]*\b(https?|ftp|git)(://|@)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """``kind``: "image" for what was found here, "vulnerability" for what a scanner told. ``rule`` is a stable
    kebab-case name, or the vulnerability's id. ``text`` holds no secret."""

    severity: Severity
    kind: str
    rule: str
    text: str

    @property
    def rank(self) -> int:
        return SEVERITIES.index(self.severity)


def of_configuration(facts: ImageFacts, tag: str | None, history: Iterable[str], now: datetime) -> list[Finding]:
    """``tag``: by which the image is used, None for a digest. ``history``: the commands of its layers."""
    return [*_user(facts), *_tag(tag), *_age(facts, now), *_ports(facts), *_environment(facts), *_history(history)]


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (-finding.rank, finding.rule, finding.text))


def masked(value: str) -> str:
    """The beginning of a secret."""
    return f"{value[:_SHOWN]}***" if len(value) > 2 * _SHOWN else "***"


def _image(severity: Severity, rule: str, text: str) -> Finding:
    return Finding(severity, "image", rule, text)


def _user(facts: ImageFacts) -> Iterator[Finding]:
    name = facts.user.partition(":")[0]
    if name in ("", "0", "root"):
        said = "names no user, so its server is" if not name else "makes its server"
        yield _image("medium", "root-user", f'it {said} root in the container: set "user" of the server or of the rule')


def _tag(tag: str | None) -> Iterator[Finding]:
    if tag == "latest":
        text = 'the tag latest may name another image tomorrow: name a version or a digest, or set "pin" in its rule'
        yield _image("low", "unpinned-tag", text)


def _age(facts: ImageFacts, now: datetime) -> Iterator[Finding]:
    made = _moment(facts.created)
    days = (now - made).days if made else 0
    if made and made.year > 1980 and days > OLD_DAYS:  # reproducible builds say 1970 or 1980
        yield _image("low", "old-image", f"it was made {days} days ago; what it holds has aged with it")


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return None


def _ports(facts: ImageFacts) -> Iterator[Finding]:
    if facts.ports:
        yield _image("low", "exposed-ports", f"it declares ports, which a server over stdio needs not: {_some(facts)}")


def _some(facts: ImageFacts) -> str:
    return ", ".join(facts.ports[:5])


def _environment(facts: ImageFacts) -> Iterator[Finding]:
    for name, _, value in (item.partition("=") for item in facts.environment):
        if _is_secret(name, value):
            yield _image("high", "secret-in-environment", f"ENV {name} looks like a secret: {masked(value)}")


def _history(history: Iterable[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for command in history:
        if _REMOTE_ADD.search(command) and "remote" not in seen:
            seen.add("remote")
            yield _image("medium", "remote-add", "a layer was made of an address (ADD); it may serve other bytes today")
        for name, value in _secrets_in(command):
            if value not in seen:
                seen.add(value)
                yield _image("high", "secret-in-history", f"{name} in the command of a layer: {masked(value)}")


def _secrets_in(command: str) -> Iterator[tuple[str, str]]:
    for name, quoted in _ASSIGNMENT.findall(command):
        value = quoted.strip("\"'")
        if _is_secret(name, value):
            yield name, value
    for found in _SECRET_VALUE.finditer(command):
        yield "a secret", found[0]


def _is_secret(name: str, value: str) -> bool:
    if _SECRET_VALUE.search(value):
        return True
    named = _SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name)
    return bool(named and len(value) >= 4 and not value.startswith(("$", "/", "http")))
