"""A planted secret is found, and what only looks like one is not. Every secret here is put together at run time."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from secret_scan import scan, scan_folder


def noise(length: int, seed: str = "s") -> str:
    digest = hashlib.sha512(seed.encode()).digest() * 2
    return base64.b64encode(digest).decode().replace("+", "x").replace("/", "y")[:length]


PLANTED = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + noise(64) + "\n" + noise(64),
    "AWS key": "id = AKIA" + "Z" * 12 + "2345",
    "GitHub token": "x: gh" + "p_" + noise(36),
    "GitLab token": "gl" + "pat-" + noise(20),
    "Slack token": "xo" + "xb-" + "1" * 24,
    "Google key": "AI" + "za" + noise(35),
    "Stripe key": "sk_" + "live_" + noise(24),
    "model provider's key": "sk-" + "ant-" + noise(40),
    "package registry token": "np" + "m_" + noise(36),
    "Docker Hub token": "dckr" + "_pat_" + noise(24),
    "JSON web token": ".".join(("ey" + "J" + noise(20), "ey" + "J" + noise(20, "b"), noise(30, "c"))),
    "random value with a telling name": 'API_KEY = "' + noise(40, "d") + '"',
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_secret_is_found_with_its_line(kind: str) -> None:
    assert (3, kind) in list(scan(f"one\ntwo\n{PLANTED[kind]}\n"))


@pytest.mark.parametrize(
    "text",
    ['{"TOKEN": "${GIT_TOKEN}"}', "password = canary-of-the-environment-5d1f",
     'secret="hunter2-hunter2-hunter2-hunter"',
     "authorization: Bearer in-clear", "token = secrets.token_urlsafe(24)", "-----BEGIN KEY-----\ncanary",
     '"integrity": "sha512-' + "A1b2" * 20 + '"', "key = METAMCP_ALLOWED_HOSTS_AND_ORIGINS_1"],
)  # fmt: skip
def test_names_canaries_and_references_are_no_secrets(text: str) -> None:
    assert list(scan(text)) == []


def test_excuse_counts_for_its_own_line_alone() -> None:
    planted = PLANTED["GitHub token"]
    assert list(scan(f"{planted}  # no-secret\n{planted}\n")) == [(2, "GitHub token")]


def test_every_file_that_git_knows_is_looked_at_and_no_value_is_printed(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    (tmp_path / "below").mkdir()
    for name in ("below/known.bin", "unknown"):
        (tmp_path / name).write_bytes(b"\xff\0" + PLANTED["GitHub token"].encode())
    subprocess.run(["git", "add", "below"], cwd=tmp_path, check=True, timeout=30)
    assert scan_folder(tmp_path) == ["below/known.bin:1: GitHub token"]
