from __future__ import annotations

import json

import pytest

from metamcp.runtime.screening.vulnerabilities import MOST_FINDINGS, read_report

TRIVY = {
    "SchemaVersion": 2, "ArtifactName": "x", "ArtifactType": "container_image",
    "Results": [
        {"Target": "x (alpine 3.9.4)", "Class": "os-pkgs", "Type": "alpine", "Vulnerabilities": [
            {"VulnerabilityID": "CVE-2019-14697", "PkgName": "musl", "InstalledVersion": "1.1.20-r4",
             "FixedVersion": "1.1.20-r5", "Severity": "CRITICAL", "Title": "x"},
            {"VulnerabilityID": "CVE-2019-14697", "PkgName": "musl-utils", "InstalledVersion": "1.1.20-r4",
             "FixedVersion": "1.1.20-r5", "Severity": "CRITICAL"},
            {"VulnerabilityID": "CVE-2019-1549", "PkgName": "libssl1.1", "InstalledVersion": "1.1.1b-r1",
             "Severity": "MEDIUM"},
        ]},
        {"Target": "python", "Class": "lang-pkgs"},
    ],
}  # fmt: skip
GRYPE = {
    "matches": [
        {"vulnerability": {"id": "CVE-2019-1549", "severity": "Negligible", "fix": {"versions": [], "state": "x"}},
         "artifact": {"name": "libssl", "version": "1"}},
        {"vulnerability": {"id": "GHSA-xxxx", "severity": "High", "fix": {"versions": ["2.0"], "state": "fixed"}},
         "artifact": {"name": "requests", "version": "1.9"}},
    ],
    "descriptor": {"name": "grype"},
}  # fmt: skip


def test_report_of_trivy_is_read_the_worst_first() -> None:
    found = read_report(json.dumps(TRIVY).encode())
    assert [(item.severity, item.rule, item.text) for item in found] == [
        ("critical", "CVE-2019-14697", "musl 1.1.20-r4, fixed in 1.1.20-r5"),
        ("critical", "CVE-2019-14697", "musl-utils 1.1.20-r4, fixed in 1.1.20-r5"),
        ("medium", "CVE-2019-1549", "libssl1.1 1.1.1b-r1, not fixed yet"),
    ]


def test_report_of_grype_is_read_the_worst_first() -> None:
    found = read_report(json.dumps(GRYPE).encode())
    assert [(item.severity, item.rule) for item in found] == [("high", "GHSA-xxxx"), ("low", "CVE-2019-1549")]


@pytest.mark.parametrize("clean", [{"SchemaVersion": 2}, {"SchemaVersion": 2, "Results": None}, {"matches": []}])
def test_clean_image_has_no_finding(clean: dict[str, object]) -> None:
    assert read_report(json.dumps(clean).encode()) == []


@pytest.mark.parametrize("text", [b"", b"no JSON", b"[]", b"{}", b'{"error": "no database"}', b"\xff"])
def test_what_is_no_report_is_told_and_not_taken_for_a_clean_one(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_report(text)


def test_severity_that_nobody_knows_is_unknown_and_the_number_is_bounded() -> None:
    many = [{"VulnerabilityID": f"CVE-{number}", "Severity": "ODD"} for number in range(MOST_FINDINGS + 5)]
    found = read_report(json.dumps({"Results": [{"Vulnerabilities": many}]}).encode())
    assert {item.severity for item in found} == {"unknown"} and len(found) == MOST_FINDINGS
