"""Looks for secrets in every file that git knows: ``python checks/secret_scan.py [FOLDER]``; exit 1 when there is one.

Keys of well-known services are found by their form, others by a telling name beside a value that looks random. A value
is never printed. What is no secret although it looks like one gets ``no-secret`` into its line.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

FORMS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[\"'\\n]*[A-Za-z0-9+/=\s\\]{64}"),
    "AWS key": re.compile(r"A[KS]IA[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})"),
    "GitLab token": re.compile(r"glpat-[A-Za-z0-9_-]{20}"),
    "Slack token": re.compile(r"xox[abprs]-[A-Za-z0-9-]{20}"),
    "Google key": re.compile(r"AIza[A-Za-z0-9_-]{35}"),
    "Stripe key": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20}"),
    "model provider's key": re.compile(r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32}"),
    "package registry token": re.compile(r"\b(?:npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{40})"),
    "Docker Hub token": re.compile(r"dckr_pat_[A-Za-z0-9_-]{20}"),
    "JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,}"),
}
NAMED = re.compile(
    r"(?:passw(?:or)?d|pwd|secret|token|api_?key|credential|auth)\w*[\"']?\s*[:=]\s*(?:bearer\s+)?[\"']?"
    r"(?P<value>[A-Za-z0-9+/_=-]{24,})",
    re.IGNORECASE,
)
RANDOM_BITS = 4.0
"""Bits for each character: words of a language and identifiers stay below."""

LOOKED_AT = 8 * 1024 * 1024
EXCUSE = "no-secret"


def scan(text: str) -> Iterator[tuple[int, str]]:
    """(line, what it is) of each secret in ``text``."""
    lines = text.splitlines()
    for kind, pattern in {**FORMS, "random value with a telling name": NAMED}.items():
        for found in pattern.finditer(text):
            number = text.count("\n", 0, found.start()) + 1
            excused = number <= len(lines) and EXCUSE in lines[number - 1]
            if not excused and (pattern is not NAMED or _random(found["value"])):
                yield number, kind


def _random(value: str) -> bool:
    """Letters of both cases and digits, evenly spread."""
    mixed = all(re.search(kind, value) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    counts = Counter(value).values()
    return mixed and -sum(n / len(value) * math.log2(n / len(value)) for n in counts) >= RANDOM_BITS


def scan_folder(folder: Path) -> list[str]:
    """Of the files in git's index, as they are on disk now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, timeout=30, check=True)
    found = []
    for name in filter(None, listed.stdout.decode("utf-8", "surrogateescape").split("\0")):
        path = folder / name
        if path.is_file() and path.stat().st_size <= LOOKED_AT:
            text = path.read_bytes().decode("utf-8", "replace")
            found += [f"{name}:{line}: {kind}" for line, kind in scan(text)]
    return found


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    found = scan_folder(folder)
    for line in found:
        print(f"secret? {line}")
    if found:
        print(f"Take them out, and renew them. What is none gets {EXCUSE!r} into its line.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
