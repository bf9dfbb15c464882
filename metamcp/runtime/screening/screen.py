"""One image, looked at: whose signature it carries, and what its configuration and an external scanner say."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from metamcp.config.engine_address import EngineAddress
from metamcp.config.images import parse_reference
from metamcp.config.model import Cosign, Scan
from metamcp.errors import CommandInvalid, EngineUnavailable
from metamcp.runtime.engine import Engine
from metamcp.runtime.facts import ImageFacts
from metamcp.runtime.screening.contents import OutOfTimeError, of_contents
from metamcp.runtime.screening.findings import Finding, of_configuration, worst_first
from metamcp.runtime.screening.ledger import Report
from metamcp.runtime.screening.programs import ProgramFailedError, Programs
from metamcp.runtime.screening.vulnerabilities import read_report

_COSIGN_BYTES, _REPORT_BYTES = 4 << 20, 64 << 20
PASSED_ON = ("PATH", "HOME", "DOCKER_CONFIG", "XDG_CACHE_HOME", "TMPDIR", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR",
              "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # fmt: skip
_PASSED_ON_PREFIXES = ("COSIGN_", "GRYPE_", "SIGSTORE_", "TRIVY_", "TUF_")


@dataclass(frozen=True, slots=True)
class Order:
    """What to look at, and how. ``reference``: complete, as the engine is given it."""

    reference: str
    facts: ImageFacts
    cosign: Cosign | None
    scan: Scan

    @property
    def key(self) -> str:
        """Of the report: another image, tag, signer or scanner needs another one."""
        asked = repr((self.tag, self.cosign, self.scan.command, self.scan.contents))
        return f"{self.facts.id} {hashlib.sha256(asked.encode()).hexdigest()[:12]}"

    @property
    def tag(self) -> str | None:
        try:
            reference = parse_reference(self.reference)
        except CommandInvalid:
            return None
        return None if reference.digest else reference.tag


def screen(engine: Engine, programs: Programs, environ: Mapping[str, str], order: Order) -> Report:
    """Blocks, as long as the configured programs may take. Raises EngineUnavailable."""
    env = _environment(environ, engine.address)
    now = time.time()
    found = of_configuration(order.facts, order.tag, engine.history(order.facts.id), datetime.fromtimestamp(now, UTC))
    unsigned = verify(programs, order.cosign, signed_reference(order), env) if order.cosign else ""
    unscanned = ""
    try:
        found += _contents(engine.address, order) if order.scan.contents else []
        found += read_report(_scanned(programs, order, env)) if order.scan.command else []
    except (EngineUnavailable, OutOfTimeError, ProgramFailedError, ValueError) as error:
        unscanned = str(error)
    return Report(tuple(worst_first(found)), unsigned, unscanned, round(now, 3))


def signed_reference(order: Order) -> str:
    """``repository@digest``: what a signature is about. "" for an image that was built here, which has no digest."""
    wanted = parse_reference(order.reference)
    if wanted.pinned:
        return wanted.pinned
    known = (parse_reference(text) for text in order.facts.repo_digests)
    return next((item.pinned for item in known if item.repository == wanted.repository), "")


def verify(programs: Programs, cosign: Cosign, reference: str, env: Mapping[str, str]) -> str:
    """"" when cosign finds a signature of the configured signer; else why not. Blocks."""
    if not reference:
        return "the image has no digest of its registry, as one that was built here, so nothing can be signed about it"
    try:
        ran = programs.run(cosign_argv(cosign, reference), env, cosign.seconds, _COSIGN_BYTES)
    except ProgramFailedError as error:
        return f"{error}; install cosign where the supervisor runs, or correct cosign in allowlist.json"
    said = ran.tail or "no reason given"
    return "" if ran.code == 0 else f"cosign refuses {reference} (exit code {ran.code}): {said}"


def cosign_argv(cosign: Cosign, reference: str) -> list[str]:
    signer = [f"--key={cosign.key}"] if cosign.key else [
        f"--certificate-identity={cosign.identity}", f"--certificate-oidc-issuer={cosign.issuer}",
    ]  # fmt: skip
    log = [] if cosign.tlog else ["--insecure-ignore-tlog=true"]
    return [cosign.program, "verify", *signer, *log, "--output=json", reference]


def _contents(address: EngineAddress, order: Order) -> list[Finding]:
    """By a client with patience: an engine may write the whole archive before it sends the first byte."""
    until = time.monotonic() + order.scan.seconds
    with Engine(address, order.scan.seconds) as engine, engine.saved(order.facts.id) as stream:
        return of_contents(stream, lambda: time.monotonic() < until)


def _scanned(programs: Programs, order: Order, env: Mapping[str, str]) -> bytes:
    """The image is named by its id: what was judged is what runs, whatever the tag says meanwhile."""
    argv = [word.replace("{image}", order.facts.id) for word in order.scan.command]
    ran = programs.run(argv, env, order.scan.seconds, _REPORT_BYTES)
    if not ran.output.strip():
        raise ProgramFailedError(f"{argv[0]} ended with {ran.code} and no report: {ran.tail}")
    return ran.output  # grype --fail-on and trivy --exit-code end with 1 or more, and report all the same


def _environment(environ: Mapping[str, str], address: EngineAddress) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environ.items()
        if name.upper() in PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return kept | address.variables()
