"""Figures of samples."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The sample below which ``share`` (0 to 1) of the ordered samples lie; None without samples."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def milliseconds(seconds: float | None) -> float | None:
    """To a microsecond."""
    return None if seconds is None else round(seconds * 1000, 3)


def latencies_ms(seconds: Sequence[float]) -> dict[str, float | None]:
    """``p50_ms``, ``p90_ms``, ``p99_ms`` and ``max_ms``; None without samples."""
    ordered = sorted(seconds)
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: milliseconds(percentile(ordered, share)) for name, share in shares.items()}
