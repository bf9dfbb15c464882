"""What lies in the files of an image, read from the stream of ``docker save`` as it comes: nothing is unpacked to disk,
and no file is held in memory but the beginning of one that may be a key."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Protocol

from metamcp.config.model import Severity
from metamcp.runtime.screening.findings import Finding

_SHOWN = 5
_KEY_BYTES = 64 * 1024
MOST_FILES = 5_000_000

_SYSTEM = re.compile(r"(usr/)?(s?bin|lib(32|64)?|etc)/|usr/local/|usr/share/")
_CREDENTIALS = re.compile(
    r"(^|/)(\.aws/credentials|\.docker/config\.json|\.netrc|\.git-credentials|\.pypirc|\.kube/config"
    r"|\.config/gcloud/[^/]*credentials[^/]*|id_(rsa|dsa|ecdsa|ed25519)|[^/]+\.kdbx)$"
)
_MAYBE_KEY = re.compile(r"\.(pem|key|p8|ppk)$|(^|/)\.npmrc$")
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|PuTTY-User-Key-File|_authToken=[^$\s]")


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class OutOfTimeError(Exception):
    """The stream took longer than it may, or holds more files than anybody has."""


@dataclass(slots=True)
class _Seen:
    """Names of one kind of fault, a few of them, and how many there are. A file of several layers counts once each."""

    severity: Severity
    rule: str
    text: str
    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < _SHOWN and name not in self.names:
            self.names.append(name)

    def finding(self) -> Finding:
        more = f" and {self.count - len(self.names)} more" if self.count > len(self.names) else ""
        return Finding(self.severity, "image", self.rule, f"{self.text}: {', '.join(self.names)}{more}")


def of_contents(source: Source, in_time: Callable[[], bool]) -> list[Finding]:
    """Findings in all layers, also in those that a later layer hides. Blocks while ``source`` does. Raises
    OutOfTimeError, and ValueError for what is no stream of ``docker save``."""
    kinds = {
        "setuid": _Seen("low", "setuid-files", "files that run as their owner, which no-new-privileges makes harmless"),
        "writable": _Seen("medium", "world-writable-files", "files of the system that everybody may write"),
        "secret": _Seen("high", "credential-files", "files that hold a key or credentials"),
    }
    try:
        saved = tarfile.open(fileobj=source, mode="r|")  # type: ignore[call-overload]  # noqa: SIM115 - _members closes it
        for _, layer in _members(saved, in_time):
            for kind, name in _of_layer(layer, in_time):
                kinds[kind].add(name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"the image's contents cannot be read: {error}") from error
    return [seen.finding() for seen in kinds.values() if seen.count]


def _of_layer(file: IO[bytes] | None, in_time: Callable[[], bool]) -> Iterator[tuple[str, str]]:
    """Manifests and configurations lie between the layers and are no archives."""
    if file is None:
        return
    try:
        inner = tarfile.open(fileobj=file, mode="r|*")  # noqa: SIM115 - likewise
    except tarfile.ReadError:
        return
    for member, content in _members(inner, in_time):
        name = member.name.removeprefix("./").lstrip("/")
        for kind in _faults(member, name, content):
            yield kind, f"/{name}"


def _members(
    archive: tarfile.TarFile, in_time: Callable[[], bool]
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    with archive:
        for number, member in enumerate(archive):
            archive.members = []  # type: ignore[attr-defined]  # else it keeps one record for each file
            if number > MOST_FILES or not in_time():
                raise OutOfTimeError("the image is too large to be looked through in time")
            yield member, archive.extractfile(member) if member.isfile() else None


def _faults(member: tarfile.TarInfo, name: str, content: IO[bytes] | None) -> Iterator[str]:
    if content is None:
        return
    if member.mode & 0o6000:
        yield "setuid"
    if member.mode & 0o002 and _SYSTEM.match(name):
        yield "writable"
    if _CREDENTIALS.search(name) or (_MAYBE_KEY.search(name) and _KEY.search(content.read(_KEY_BYTES))):
        yield "secret"
