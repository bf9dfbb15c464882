"""Binds, volumes and tmpfs, in both spellings (``-v`` and ``--mount``), and the read-only root.

What runs names the *resolved* source of a bind: the directory that was judged is the one that is mounted,
also if a symlink on the way changes in between.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from metamcp.runtime.command.grammar import DockerRun
from metamcp.runtime.policy.bind_paths import approved_source, is_below
from metamcp.runtime.policy.case import WIDEN, Action, Case, Part, Step, joined, part, refuse
from metamcp.runtime.policy.limits import size_in_bytes

OWNED = frozenset({"volume", "mount", "tmpfs", "read-only"})

DEFAULT_TMPFS = 64 * 1024 * 1024  # bytes

# Of two characters at least: a single letter before a colon is a Windows drive to the CLI.
VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")

VOLUME_MODES = frozenset({"ro", "rw", "z", "Z", "nocopy", "private", "rprivate", "consistent", "cached", "delegated"})
TMPFS_OPTIONS = frozenset({"ro", "rw", "exec", "noexec", "nosuid", "nodev", "noatime"})
_TMPFS_VALUES = frozenset({"size", "mode", "uid", "gid"})
_TMPFS_SIZE = re.compile(r"[0-9]{1,15}[kmg]?", re.IGNORECASE)

_MOUNT_ALIASES: Mapping[str, str] = MappingProxyType({
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly",
})  # fmt: skip
_MOUNT_KEYS: Mapping[str, frozenset[str]] = MappingProxyType({
    "bind": frozenset({"type", "source", "target", "readonly", "consistency", "bind-propagation"}),
    "volume": frozenset({"type", "source", "target", "readonly", "consistency", "volume-nocopy"}),
    "tmpfs": frozenset({"type", "target", "readonly", "tmpfs-size", "tmpfs-mode"}),
})  # fmt: skip
_SWITCHES = ("readonly", "volume-nocopy")
_ON, _OFF = ("1", "t", "true"), ("0", "f", "false")
_SYNTAX = "write it as in docker's manual, or use -v SOURCE:TARGET"


def rule_mounts(case: Case, run: DockerRun) -> Part:
    mounted = joined((
        *(_volume(case, value) for value in run.values("volume")),
        *(_mount(case, value) for value in run.values("mount")),
        *(_tmpfs(case, value) for value in run.values("tmpfs")),
    ))  # fmt: skip
    return mounted + _root(case, run, {target_of(name, value) for name, value in mounted.options})


def target_of(name: str, value: str) -> str:
    """Where an option of this module's output is mounted."""
    if name == "mount":
        target = dict(field.partition("=")[::2] for field in next(csv.reader([value]))).get("target", "")
    elif name == "tmpfs":
        target = value.partition(":")[0]
    else:
        fields = value.split(":")
        target = fields[min(1, len(fields) - 1)]
    return _clean(target)


def _clean(target: str) -> str:
    return "/" + posixpath.normpath(target).lstrip("/")


def _volume(case: Case, value: str) -> Part:
    source, target, modes = _volume_fields(case, value)
    _check_target(case, "--volume", target)
    if unknown := sorted(set(modes) - VOLUME_MODES):
        refuse(case, "mount-option", f"--volume with the option {unknown[0]!r} is refused", "use ro or rw")
    resolved = _volume_source(case, source)
    spelled = ":".join(text for text in (resolved, target, ",".join(modes)) if text)
    return part("volume", (spelled,), *_resolved("--volume", source, resolved))


def _volume_fields(case: Case, value: str) -> tuple[str, str, list[str]]:
    fields = value.split(":")
    if len(fields) == 1:
        return "", value, []
    if len(fields) > 3 or "" in fields:
        refuse(case, "mount-syntax", "--volume is not SOURCE:TARGET[:OPTIONS]", _SYNTAX)
    return fields[0], fields[1], fields[2].split(",") if fields[2:] else []


def _volume_source(case: Case, source: str) -> str:
    if not source or VOLUME_NAME.fullmatch(source):
        return source
    resolved = approved_source(case, "--volume", source)
    if ":" in resolved:
        refuse(case, "mount-syntax", "the source of --volume resolves to a path with a colon", "use --mount")
    return resolved


def _mount(case: Case, value: str) -> Part:
    fields = _mount_fields(case, value)
    kind = fields.setdefault("type", "volume")
    if foreign := sorted(set(fields) - _MOUNT_KEYS.get(kind, frozenset())):
        refuse(case, "mount-option", f"--mount type={kind} with {foreign[0]!r} is refused", "remove that option")
    if fields.get("bind-propagation", "private") not in ("private", "rprivate"):
        refuse(case, "mount-option", "--mount may not propagate mounts to the host", "remove bind-propagation")
    _check_target(case, "--mount", fields.get("target", ""))
    finish = {"bind": _finish_bind, "volume": _finish_volume, "tmpfs": _finish_tmpfs}[kind]
    steps = finish(case, fields)
    return part("mount", (_mount_text(fields),), *steps)


def _mount_fields(case: Case, value: str) -> dict[str, str]:
    """The CLI reads CSV, ignores the case of keys, and lets the last of two equal keys win."""
    try:
        (row,) = csv.reader([value], strict=True)
    except (csv.Error, ValueError):
        refuse(case, "mount-syntax", "--mount is not a list of key=value", _SYNTAX)
    fields = dict(_mount_field(case, field) for field in row)
    return {key: text for key, text in fields.items() if text != "false" or key not in _SWITCHES}


def _mount_field(case: Case, field: str) -> tuple[str, str]:
    if '"' in field or any(ord(char) < ord(" ") for char in field):
        refuse(case, "mount-syntax", "--mount holds quotes or control characters inside a value", _SYNTAX)
    key, equals, text = field.partition("=")
    key = _MOUNT_ALIASES.get(key.lower(), key.lower())
    if key in _SWITCHES:
        return key, _switch(case, text if equals else "true")
    if not equals:
        refuse(case, "mount-syntax", "--mount is not a list of key=value", _SYNTAX)
    return key, text.lower() if key == "type" else text


def _switch(case: Case, text: str) -> str:
    if text.lower() not in _ON + _OFF:
        refuse(case, "mount-syntax", "a switch of --mount is either true or false", _SYNTAX)
    return "true" if text.lower() in _ON else "false"


def _mount_text(fields: Mapping[str, str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(f"{key}={text}" for key, text in fields.items())
    return out.getvalue()


def _finish_bind(case: Case, fields: dict[str, str]) -> tuple[Step, ...]:
    source = fields.get("source", "")
    fields["source"] = approved_source(case, "--mount", source)
    return _resolved("--mount", source, fields["source"])


def _finish_volume(case: Case, fields: dict[str, str]) -> tuple[Step, ...]:
    if fields.get("source") and VOLUME_NAME.fullmatch(fields["source"]) is None:
        refuse(case, "mount-syntax", "the source of a volume is not the name of a volume", "use type=bind for a path")
    return ()


def _finish_tmpfs(case: Case, fields: dict[str, str]) -> tuple[Step, ...]:
    own = fields.get("tmpfs-size")
    fields["tmpfs-size"], steps = _bounded(case, "--mount", own, size_in_bytes(own or ""))
    return steps


def _tmpfs(case: Case, value: str) -> Part:
    target, _, text = value.partition(":")
    _check_target(case, "--tmpfs", target)
    options = dict(_tmpfs_option(case, option) for option in text.split(",") if option)
    own = options.get("size")
    size = size_in_bytes(own) if own and _TMPFS_SIZE.fullmatch(own) else None
    options["size"], steps = _bounded(case, "--tmpfs", own, size)
    spelled = ",".join(f"{key}={item}" if item else key for key, item in options.items())
    return part("tmpfs", (f"{target}:{spelled}",), *steps)


def _tmpfs_option(case: Case, option: str) -> tuple[str, str]:
    key, _, item = option.partition("=")
    if key not in _TMPFS_VALUES if item else option not in TMPFS_OPTIONS:
        advice = f"use {', '.join(sorted(_TMPFS_VALUES | TMPFS_OPTIONS))}"
        refuse(case, "mount-option", f"--tmpfs with the option {key!r} is refused", advice)
    return key, item


def _bounded(case: Case, flag: str, own: str | None, size: int | None) -> tuple[str, tuple[Step, ...]]:
    """A tmpfs is memory. None or zero would mean half of the machine's."""
    limit = case.spec.limits.memory
    if own is None:
        text = str(min(DEFAULT_TMPFS, limit))
        return text, (Step("rewritten", flag, "tmpfs-bounded", f"no size was given; it is {text} bytes"),)
    if not size or size > limit:
        note = f"the size is bounded by the server's memory limit of {limit} bytes"
        return str(limit), (Step("rewritten", flag, "tmpfs-bounded", note),)
    return str(size), ()


def _check_target(case: Case, flag: str, target: str) -> None:
    place = _clean(target)
    if not target.startswith("/") or place == "/":
        refuse(case, "mount-syntax", f"the target of {flag} is not an absolute path in the container", _SYNTAX)
    if is_below(place, "/proc") or is_below(place, "/sys"):
        refuse(case, "mount-target", f"{flag} hides the kernel's own files in the container", "use another target")


def _resolved(flag: str, source: str, resolved: str) -> tuple[Step, ...]:
    if source == resolved:
        return ()
    return (Step("rewritten", flag, "bind-resolved", f"{source} is {resolved}"),)


def _root(case: Case, run: DockerRun, targets: Iterable[str]) -> Part:
    """A read-only root with a bounded /tmp, unless this image may write."""
    if case.allow.writable and not run.flag("read-only"):
        return part("read-only", (), Step("kept", "--read-only", "read-only", "the allowlist lets this image write"))
    steps = _forced_read_only(run)
    if "/tmp" in targets:  # noqa: S108  # the container's /tmp
        return part("read-only", ("true",), *steps)
    note = "a bounded /tmp beside the read-only root"
    tmp = (("tmpfs", f"/tmp:size={min(DEFAULT_TMPFS, case.spec.limits.memory)}"),)  # noqa: S108
    return Part((("read-only", "true"), *tmp), (*steps, Step("added", "--tmpfs", "read-only", note)))


def _forced_read_only(run: DockerRun) -> tuple[Step, ...]:
    if run.flag("read-only"):
        return ()
    action: Action = "rewritten" if run.values("read-only") else "added"
    note = f"the root is read-only; mount a volume or a tmpfs where the server writes ({WIDEN}: writable)"
    return (Step(action, "--read-only", "read-only", note),)
