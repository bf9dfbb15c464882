"""Whether a query of PromQL asks for what there is: names of families, and labels within braces and groupings.

No parser of the language: it takes every name that begins like ours, and what stands in the braces behind it.
"""

from __future__ import annotations

import re

from metamcp.telemetry.metrics import FAMILIES

_OF_PROMETHEUS = {"le", "instance", "job"}
_SELECTOR = re.compile(r"\b(metamcp_\w+)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"""(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"\s*(?:,|$)""")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def _samples() -> dict[str, set[str]]:
    """The names of samples, and their labels."""
    found: dict[str, set[str]] = {}
    for family in FAMILIES:
        if family.type == "histogram":
            found |= {f"{family.name}_{part}": {*family.labels} for part in ("count", "sum")}
            found[f"{family.name}_bucket"] = {*family.labels, "le"}
        else:
            found[family.name] = {*family.labels}
    return found


SAMPLES = _samples()


def problems(query: str) -> list[str]:
    """What is wrong with ``query``; empty when all is well."""
    used = _SELECTOR.findall(query)
    found = [f"{name}: no such metric" for name, _ in used if name not in SAMPLES]
    known = _OF_PROMETHEUS.union(*(SAMPLES.get(name, set()) for name, _ in used))
    for name, matchers in used:
        rest = _MATCHER.sub("", matchers).strip()
        found += [f"{name}: {rest!r} is no matcher"] if rest else []
        for label in _MATCHER.findall(matchers):
            if label not in SAMPLES.get(name, set()) | {"instance", "job"}:
                found.append(f"{name}: no such label {label!r}")
    for labels in _GROUPING.findall(query):
        found += [f"no metric of the query has the label {label!r}" for label in _names(labels) if label not in known]
    if query.count("(") != query.count(")"):
        found.append("the parentheses do not match")
    return found


def names(query: str) -> set[str]:
    """The metrics that ``query`` asks for."""
    return {name for name, _ in _SELECTOR.findall(query)}


def _names(labels: str) -> list[str]:
    return [label.strip() for label in labels.split(",") if label.strip()]
