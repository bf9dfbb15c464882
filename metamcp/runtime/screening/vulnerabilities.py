"""The JSON reports of vulnerability scanners: Trivy's and Grype's. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from metamcp.config.model import SEVERITIES, Severity
from metamcp.runtime.screening.findings import Finding, worst_first

MOST_FINDINGS = 500
"""That are kept of one report, the worst ones."""


def read_report(text: bytes) -> list[Finding]:
    """Each vulnerability and package once, the worst first. Raises ValueError for what is neither report."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    if "matches" in document:
        found = set(_grype(document))
    elif "SchemaVersion" in document or "Results" in document:
        found = set(_trivy(document))
    else:
        raise ValueError("it is neither Trivy's report (--format json) nor Grype's (-o json)")
    return worst_first(found)[:MOST_FINDINGS]


def _trivy(document: Mapping[str, Any]) -> Iterator[Finding]:
    for result in _dicts(document.get("Results")):
        for item in _dicts(result.get("Vulnerabilities")):
            package = f"{item.get('PkgName')} {item.get('InstalledVersion')}"
            yield _finding(item.get("VulnerabilityID"), item.get("Severity"), package, item.get("FixedVersion"))


def _grype(document: Mapping[str, Any]) -> Iterator[Finding]:
    for match in _dicts(document.get("matches")):
        item, artifact = match.get("vulnerability") or {}, match.get("artifact") or {}
        package = f"{artifact.get('name')} {artifact.get('version')}"
        fixed = ", ".join(map(str, (item.get("fix") or {}).get("versions") or ()))
        yield _finding(item.get("id"), item.get("severity"), package, fixed)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _finding(name: Any, severity: Any, package: str, fixed: Any) -> Finding:
    text = f"{package}, fixed in {fixed}" if fixed else f"{package}, not fixed yet"
    return Finding(_severity(str(severity).lower()), "vulnerability", str(name)[:80], text[:200])


def _severity(word: str) -> Severity:
    if word == "negligible":
        return "low"
    return next((known for known in SEVERITIES if known == word), "unknown")
