"""Values of single options as the Engine API takes them, with what the docker CLI refuses by itself. Pure."""

from __future__ import annotations

import csv
import ipaddress
import re
from collections.abc import Sequence
from typing import Any

_HOST_GATEWAY = "host-gateway"
_ALL = frozenset({"ALL", "RESET"})
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)\.?\s*")
_LONGEST_DOMAIN = 254
_DEVICE_MODE = re.compile(r"(?!.*(.).*\1)[rwm]{1,3}")


class InvalidValueError(ValueError):
    """The docker CLI would not send this; the text is what it says, more or less."""


def invalid(flag: str, value: str, why: str) -> InvalidValueError:
    return InvalidValueError(f'invalid argument "{value}" for "--{flag}" flag: {why}')


def address(flag: str, value: str) -> str:
    """An IP address in its canonical spelling."""
    try:
        if "%" in value:
            raise ValueError
        return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        raise invalid(flag, value, f"IP address is not correctly formatted: {value}") from None


def extra_host(value: str) -> str:
    """``name:address`` or ``name=address``, as ``name:address``; the address stays as it is written."""
    separator = "=" if "=" in value else ":"
    name, found, text = value.partition(separator)
    if not found or not name or ":" in name:
        raise invalid("add-host", value, f'bad format for add-host: "{value}"')
    if text == _HOST_GATEWAY:
        return f"{name}:{text}"
    bare = text[1:-1] if len(text) > 2 and text[0] == "[" and text[-1] == "]" else text
    try:
        address("add-host", bare)
    except InvalidValueError:
        raise invalid("add-host", value, f'invalid IP address in add-host: "{bare}"') from None
    return f"{name}:{bare}"


def search_domain(value: str) -> str:
    text = value.strip(" ")
    if text == ".":
        return text
    match = _DOMAIN.fullmatch(text)
    if match is None or not re.search("[a-zA-Z]", text) or len(match[1]) > _LONGEST_DOMAIN:
        raise invalid("dns-search", value, f"{text} is not a valid domain")
    return match[1]


def capabilities(values: Sequence[str]) -> list[str]:
    """``CAP_…`` in capitals, each once."""
    return sorted({_capability(value) for value in values})


def _capability(value: str) -> str:
    name = value.strip().upper()
    return name if name in _ALL or name.startswith("CAP_") else f"CAP_{name}"


def device(value: str) -> dict[str, Any]:
    """``SOURCE[:TARGET][:MODE]``."""
    source, *more = value.split(":")
    if len(more) > 2 or not source:
        raise InvalidValueError(f"bad format for path: {value}")
    mode = more.pop() if len(more) == 2 or (more and _DEVICE_MODE.fullmatch(more[0])) else "rwm"
    target = more[0] if more else source
    if not _DEVICE_MODE.fullmatch(mode):
        raise InvalidValueError(f"bad mode specified: {mode}")
    if not target.startswith("/"):
        raise InvalidValueError(f"{target} is not an absolute path")
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": mode}


def ulimit(value: str) -> dict[str, Any]:
    """``NAME=SOFT[:HARD]``; -1 is without a limit."""
    name, _, numbers = value.partition("=")
    soft, *rest = (int(number) for number in numbers.split(":"))
    hard = rest[0] if rest else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise invalid("ulimit", value, "ulimit soft limit must be less than or equal to hard limit")
    return {"Name": name, "Soft": soft, "Hard": hard}


def gpu_request(value: str) -> dict[str, Any]:
    """``all``, a number, or CSV of ``driver=``, ``count=``, ``device=``, ``capabilities=`` and ``options=``."""
    try:
        (row,) = csv.reader([value], strict=True)
    except (csv.Error, ValueError):
        raise invalid("gpus", value, "not CSV") from None
    pairs = [field.partition("=") for field in row]
    fields = {(key if equals else "count"): (text if equals else key) for key, equals, text in pairs}
    if len(fields) < len(pairs):
        raise invalid("gpus", value, "gpu request key can be specified only once")
    if unknown := sorted(set(fields) - {"driver", "count", "device", "capabilities", "options"}):
        raise invalid("gpus", value, f"unexpected key '{unknown[0]}'")
    asked = fields.get("capabilities")
    found: dict[str, Any] = {"Capabilities": [[*(asked.split(",") if asked is not None else []), "gpu"]]}
    found |= {"Driver": fields["driver"]} if "driver" in fields else {}
    found |= {"DeviceIDs": fields["device"].split(",")} if "device" in fields else {}
    if "count" in fields or "device" not in fields:
        found["Count"] = _count(value, fields.get("count", "1"))
    if "options" in fields:
        found["Options"] = dict(option.partition("=")[::2] for option in next(csv.reader([fields["options"]])))
    return found


def _count(value: str, text: str) -> int:
    if text == "all":
        return -1
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) is None:
        raise invalid("gpus", value, f"count must be an integer: {text}")
    return int(text)
