"""Image references, the patterns of the allowlist, and the decision whether an image may run. Pure.

References follow the grammar of distribution/reference and are normalised as the Docker engine does it:
``alpine`` is ``docker.io/library/alpine:latest``. Names are compared with their case, as the engine does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from metamcp.config.model import Allowlist, ImageRule
from metamcp.errors import CommandInvalid, ConfigInvalid

DEFAULT_DOMAIN = "docker.io"
LEGACY_DOMAIN = "index.docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_HOST}(?:\.{_HOST})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A normalised reference; ``str`` gives its canonical form. ``tag`` is None only beside a digest."""

    domain: str
    path: str
    tag: str | None = DEFAULT_TAG
    digest: str | None = None

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def pinned(self) -> str:
        """``repository@digest``, or "" without a digest."""
        return f"{self.repository}@{self.digest}" if self.digest else ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.repository + tag + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled line of the allowlist. ``tag`` None stands for any tag and any digest."""

    domain: str | None  # None stands for every registry
    path: re.Pattern[str]
    tag: re.Pattern[str] | None
    digest: str | None = None
    wild: bool = False

    def covers_repository(self, reference: ImageReference) -> bool:
        return self.domain in (None, reference.domain) and self.path.fullmatch(reference.path) is not None

    def covers_version(self, reference: ImageReference, digest: str | None) -> bool:
        """A digest beats the tag beside it in the engine, so a rule for one tag lets no digest through."""
        if digest is not None and reference.digest is not None:
            return reference.digest == digest
        if self.tag is None:
            return True
        return reference.digest is None and self.tag.fullmatch(reference.tag or "") is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``index`` is the position of ``rule`` in the allowlist. ``pinned`` is ``repository@digest`` when a digest
    is known, and then the only thing to run. Otherwise run ``str(reference)``, never the text as written: the
    engine takes a bare hexadecimal name for an image id if no image has that name. ``advice`` says what to change."""

    allowed: bool
    rule: ImageRule | None
    index: int | None
    reason: str
    advice: str
    pinned: str = ""
    reference: ImageReference | None = None
    would_deny: str = ""  # it is allowed only because nothing is refused at the moment (dryRun): why it would be


def parse_reference(text: str) -> ImageReference:
    """The normalised form of an image reference as people write it. Raises CommandInvalid."""
    if not text:
        raise CommandInvalid("an image reference must not be empty")
    if _IMAGE_ID.fullmatch(text):
        raise CommandInvalid("an image id names no repository: write NAME:TAG or NAME@sha256:… instead")
    name, tag, digest = _take_apart(text)
    domain, path = _split_domain(name)
    problem = _name_problem(domain, path) or _version_problem(tag, digest)
    if problem:
        raise CommandInvalid(f"the image reference {text[:MAX_NAME]!r} is malformed: {problem}")
    return ImageReference(domain, path, tag or (None if digest else DEFAULT_TAG), digest)


@lru_cache(maxsize=1024)
def parse_pattern(text: str) -> Pattern:
    """One line of the allowlist, compiled. Raises ConfigInvalid with the pattern as its path.

    ``*`` alone: every image. ``*`` as a whole last component: any depth below. Any other ``*``: one or more
    characters within its component or tag. A name without ``*`` and without tag: only ``:latest``.
    """
    if text == "*":
        return Pattern(None, re.compile(r".+"), None, wild=True)
    name, tag, digest = _take_apart(text)
    domain, path = _pattern_domain(name)
    problem = _pattern_problem(name, domain, path, tag, digest)
    if problem:
        raise ConfigInvalid([(text[:MAX_NAME] or '""', problem)])
    wild = "*" in path
    return Pattern(domain, _compile_path(path), _compile_tag(tag, wild), digest, wild or "*" in (tag or ""))


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def matches(rule: ImageRule, reference: ImageReference) -> bool:
    pattern = parse_pattern(rule.pattern)
    return pattern.covers_repository(reference) and pattern.covers_version(reference, rule.digest or pattern.digest)


def decide(allowlist: Allowlist, reference_text: str) -> Verdict:
    """Whether the image may run: the first rule that matches decides; no rule, no image. Never raises for a
    malformed reference, which is refused like an unknown one."""
    try:
        reference = parse_reference(reference_text)
    except CommandInvalid as invalid:
        return Verdict(False, None, None, invalid.text, "correct the image in the server's args")
    for index, rule in enumerate(allowlist.rules):
        if matches(rule, reference):
            return _allowed(rule, index, reference)
    verdict = _refused(allowlist, reference)
    return _only_told(verdict, reference) if allowlist.dry_run else verdict


def familiar(reference: ImageReference) -> str:
    """The shortest text that means the same, as in ``docker images``, always with tag or digest."""
    text = reference.pinned or str(reference)
    whole = (reference.domain, reference.path)
    for prefix in (f"{DEFAULT_DOMAIN}/library/", f"{DEFAULT_DOMAIN}/"):
        short = text.removeprefix(prefix)
        if _split_domain(_take_apart(short)[0]) == whole:
            return short
    return text


def _allowed(rule: ImageRule, index: int, reference: ImageReference) -> Verdict:
    digest = rule.digest or parse_pattern(rule.pattern).digest or reference.digest
    pinned = f"{reference.repository}@{digest}" if digest else ""
    reason = f"images[{index}] {rule.pattern!r} of the allowlist allows it"
    return Verdict(True, rule, index, reason, "", pinned, reference)


def _refused(allowlist: Allowlist, reference: ImageReference) -> Verdict:
    advice = f'add "{familiar(reference)}" to "images" in allowlist.json'
    near = next((found for found in enumerate(allowlist.rules) if _near(found[1], reference)), None)
    if near:
        index, rule = near
        reason = f"images[{index}] {rule.pattern!r} of the allowlist allows the repository, not {_version(reference)}"
        return Verdict(False, rule, index, reason, advice, reference=reference)
    empty = "the allowlist is empty, so no image may run"
    reason = f"no rule of the allowlist matches {reference}" if allowlist.rules else empty
    return Verdict(False, None, None, reason, advice, reference=reference)


def _only_told(refused: Verdict, reference: ImageReference) -> Verdict:
    """By a rule that opens nothing beyond the default policy."""
    rule = ImageRule(str(reference), reference.digest)
    text = f"it would be denied, because {refused.reason}; {refused.advice}"
    return Verdict(True, rule, None, text, refused.advice, reference.pinned, reference, text)


def _near(rule: ImageRule, reference: ImageReference) -> bool:
    return parse_pattern(rule.pattern).covers_repository(reference)


def _version(reference: ImageReference) -> str:
    return f"the digest {reference.digest}" if reference.digest else f"the tag {reference.tag!r}"


def _take_apart(text: str) -> tuple[str, str | None, str | None]:
    name, at, digest = text.partition("@")
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        return name[:colon], name[colon + 1 :], digest if at else None
    return name, None, digest if at else None


def _split_domain(name: str) -> tuple[str, str]:
    """As splitDockerDomain in distribution/reference: only a first component with ``.``, ``:`` or an upper-case
    letter, or ``localhost``, is a registry."""
    first, slash, rest = name.partition("/")
    registry = slash and (any(mark in first for mark in ".:[") or first == "localhost" or first.lower() != first)
    domain, path = (first, rest) if registry else (DEFAULT_DOMAIN, name)
    domain = DEFAULT_DOMAIN if domain == LEGACY_DOMAIN else domain
    return domain, f"library/{path}" if domain == DEFAULT_DOMAIN and "/" not in path else path


def _name_problem(domain: str, path: str) -> str | None:
    if _DOMAIN.fullmatch(domain) is None:
        return f"{domain[:MAX_NAME]!r} is not the name of a registry"
    if path.lower() != path:
        return "the repository must be in lower case"
    if any(_COMPONENT.fullmatch(part) is None for part in path.split("/")):
        return "a repository consists of a-z and 0-9, separated by single . _ / or by - and __"
    return f"the repository is longer than {MAX_NAME} characters" if len(path) > MAX_NAME else None


def _version_problem(tag: str | None, digest: str | None) -> str | None:
    if tag is not None and _TAG.fullmatch(tag) is None:
        return "a tag consists of up to 128 letters, digits, _ . and -"
    if digest is not None and not is_digest(digest):
        return "a digest looks like sha256: followed by 64 hexadecimal digits in lower case"
    return None


def _pattern_domain(name: str) -> tuple[str, str]:
    """Like a reference's, but ``docker.io/*`` means all of that registry, not only ``library/``."""
    if name in (f"{DEFAULT_DOMAIN}/*", f"{LEGACY_DOMAIN}/*"):
        return DEFAULT_DOMAIN, "*"
    return _split_domain(name)


def _pattern_problem(name: str, domain: str, path: str, tag: str | None, digest: str | None) -> str | None:
    if name == "*":
        return 'write "*" alone for every image, or a registry before it, such as docker.io/*:1.0'
    if "*" in domain:
        return "the name of a registry cannot contain *: write one rule for each registry"
    if any(part.count("*") > 1 for part in (*path.split("/"), tag or "")):
        return "only one * can stand in a component or tag; a last component of * covers any depth"
    if digest is not None and ("*" in path or "*" in (tag or "")):
        return "a digest belongs to one image: write the repository and tag without *"
    plain_tag = None if tag is None else tag.replace("*", "x")
    return _name_problem(domain, path.replace("*", "x")) or _version_problem(plain_tag, digest)


def _compile_path(path: str) -> re.Pattern[str]:
    parts = path.split("/")
    last = r".+" if parts[-1] == "*" else _glob(parts[-1])
    return re.compile("/".join([*map(_glob, parts[:-1]), last]))


def _compile_tag(tag: str | None, wild: bool) -> re.Pattern[str] | None:
    if tag == "*" or (tag is None and wild):
        return None
    return re.compile(_glob(tag or DEFAULT_TAG))


def _glob(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]+")
