"""gunicorn's logger. No access log, whatever its format, shows a key, a token or a session."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from metamcp.telemetry.masking import MASK, SECRET_HEADERS, mask_address, mask_query

FORMAT = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(D)s "%(a)s" %({metamcp.request}e)s'
"""Without the query: there HTTP+SSE has the session's id, which is as good as a key. At the end, what the request is
called in the logs of both tiers."""


class MaskingLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        atoms = super().atoms(resp, req, environ, request_time)
        return {name: _masked(name, value) for name, value in atoms.items()}


def _masked(name: str, value: Any) -> Any:
    header = name.strip("{}eio").removeprefix("http_").replace("_", "-")
    if name.startswith("{") and header in SECRET_HEADERS:
        return MASK
    if name in ("q", "{query_string}e"):
        return mask_query(value or "")
    return mask_address(value) if isinstance(value, str) else value
