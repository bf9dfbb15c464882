"""One tree of errors: each knows its JSON-RPC code, its HTTP status, whose fault it is, and a text safe to show.

Codes of the gateway lie outside the range that JSON-RPC and MCP reserve (-32768..-32000). A text never
contains a secret; it says what happened and, where somebody can act, what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

MAX_TEXT = 16 * 1024
"""Characters of one text of an error."""

Fault = Literal["client", "server", "operator", "gateway"]


class MetaMCPError(Exception):
    """Root of the tree. ``data`` goes into the JSON-RPC error as it is, so it must be JSON-able and safe."""

    code: ClassVar[int] = -32603
    http_status: ClassVar[int] = 500
    fault: ClassVar[Fault] = "gateway"

    def __init__(self, text: str, **data: Any) -> None:
        super().__init__(text)
        self.text = text
        self.data: dict[str, Any] = {key: value for key, value in data.items() if value is not None}

    def again(self) -> MetaMCPError:
        """The same error for another request: an exception object belongs to the one who raised it."""
        return type(self)(self.text, **self.data)

    @property
    def rule(self) -> str:
        """Why it was refused, in one word: what ``data`` names, or ``session-unknown`` for SessionUnknown."""
        named = self.data.get("rule") or self.data.get("limit")
        return str(named) if named else re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def advice(self) -> str:
        """What to do; "" where nothing is known but the text."""
        return str(self.data.get("advice") or self.data.get("hint") or "")

    @property
    def headline(self) -> str:
        """The first line of the text; behind it may stand what a server printed."""
        return self.text.partition("\n")[0]

    @property
    def told(self) -> str:
        """The text, and what to do, where the text does not say that itself."""
        advice = self.advice
        if not advice or advice.rstrip(".").casefold() in self.text.casefold():
            return self.text
        return f"{self.text.rstrip('.')}. {advice[0].upper()}{advice[1:]}"

    def as_jsonrpc(self) -> dict[str, Any]:
        """The ``error`` member of a JSON-RPC response (JSON-RPC 2.0, section 5.1)."""
        error: dict[str, Any] = {"code": self.code, "message": _short(self.told)}
        if self.data:
            error["data"] = {key: _short(value) for key, value in self.data.items()}
        return error


def _short(value: Any) -> Any:
    """What a client has sent may be repeated in an error, and be of any length; escaped, it would be longer still."""
    return value if not isinstance(value, str) or len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}..."


# --- the client's fault ------------------------------------------------------------------------------------


class ParseError(MetaMCPError):
    """The body is not JSON."""

    code, http_status, fault = -32700, 400, "client"


class InvalidRequest(MetaMCPError):
    """JSON, but not a message that this route accepts."""

    code, http_status, fault = -32600, 400, "client"


class MethodNotFound(MetaMCPError):
    code, http_status, fault = -32601, 404, "client"


class InvalidParams(MetaMCPError):
    code, http_status, fault = -32602, 400, "client"


class HeaderMismatch(MetaMCPError):
    """A header and the body disagree, or a mandatory header is missing (2026-07-28, Server Validation)."""

    code, http_status, fault = -32020, 400, "client"


class MissingClientCapability(MetaMCPError):
    """``data``: requiredCapabilities, in the shape of ClientCapabilities (2026-07-28, schema)."""

    code, http_status, fault = -32021, 400, "client"


class UnsupportedVersion(MetaMCPError):
    """``data``: supported (list of revisions), requested (2026-07-28, Protocol Version Header)."""

    code, http_status, fault = -32022, 400, "client"


class SessionUnknown(MetaMCPError):
    """404 is the only signal that makes clients initialize anew (2025-11-25, Session Management)."""

    code, http_status, fault = -32001, 404, "client"


class EndpointUnknown(MetaMCPError):
    code, http_status, fault = -32600, 404, "client"


class Unauthorized(MetaMCPError):
    code, http_status, fault = -32600, 401, "client"


class ScopeLacking(MetaMCPError):
    """Known, and not allowed this."""

    code, http_status, fault = -32600, 403, "client"


class RequestRefused(MetaMCPError):
    """Host or Origin is not allowed (DNS rebinding)."""

    code, http_status, fault = -32600, 403, "client"


class TooLarge(MetaMCPError):
    code, http_status, fault = -32600, 413, "client"


class TargetTooLong(MetaMCPError):
    code, http_status, fault = -32600, 414, "client"


class HeadersTooLarge(MetaMCPError):
    code, http_status, fault = -32600, 431, "client"


class RequestTimeout(MetaMCPError):
    """The client did not send its request in time."""

    code, http_status, fault = -32600, 408, "client"


class TooManyRequests(MetaMCPError):
    """One client wants too much at once, or too often. ``data``: limit (whose bound it was), retryAfterMs."""

    code, http_status, fault = -31006, 429, "client"


class Cancelled(MetaMCPError):
    """Ends the stream of a call that its client cancelled; what the Python SDK puts there, too."""

    code, http_status, fault = -32800, 200, "client"


# --- the MCP server's fault --------------------------------------------------------------------------------


class ServerUnavailable(MetaMCPError):
    """``data``: server, state, reason, retryAfterMs."""

    code, http_status, fault = -31001, 503, "server"


class AtCapacity(MetaMCPError):
    """``data``: server."""

    code, http_status, fault = -31002, 503, "gateway"


class DeadlinePassed(MetaMCPError):
    """``data``: server, seconds."""

    code, http_status, fault = -31003, 504, "server"


class ServerDied(MetaMCPError):
    """``data``: server, exitCode, signal, oomKilled, stderr (the last lines)."""

    code, http_status, fault = -31004, 502, "server"


class ServerMisbehaved(MetaMCPError):
    """The MCP server broke the protocol (a line over the limit, no valid initialize result)."""

    code, http_status, fault = -31001, 502, "server"


# --- the operator's ----------------------------------------------------------------------------------------


class RefusedByPolicy(MetaMCPError):
    """``data``: server, rule (the name of the rule that refused), advice."""

    code, http_status, fault = -31005, 403, "operator"


class CommandInvalid(MetaMCPError):
    """A ``docker run`` command line that cannot be understood. ``data``: flag."""

    code, http_status, fault = -31005, 403, "operator"


class MiddlewareFailed(MetaMCPError):
    """``data``: namespace, middleware, hook. What its code raised is in the log alone, without its text."""

    code, http_status, fault = -31007, 500, "operator"


class SecretMissing(MetaMCPError):
    """``${NAME}`` is not set, or the file of ``${file:…}`` cannot be read. ``data``: name. Never the value."""

    code, http_status, fault = -31001, 503, "operator"


class RemoteRefused(MetaMCPError):
    """A remote server that does not let the gateway in, or is not where ``url`` says. ``data``: server, status."""

    code, http_status, fault = -31001, 503, "operator"


class AccessUndecided(MetaMCPError):
    """Who may enter cannot be told: the keys, or those of an issuer of tokens, cannot be read. So nobody may."""

    code, http_status, fault = -31001, 503, "operator"


class ConfigInvalid(MetaMCPError):
    """Every mistake of the configuration at once; ``problems`` are (path, text) pairs in file order."""

    fault = "operator"
    exit_status: ClassVar[int] = 2  # of every command that stops because of it

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path}: {text}" for path, text in self.problems))

    def report(self) -> str:
        """Every mistake on a line of its own, for a terminal."""
        lines = [f"  {path}: {text}" for path, text in self.problems]
        return "\n".join([f"the configuration has {len(lines)} mistake(s):", *lines])


class EngineUnavailable(MetaMCPError):
    """The Docker engine cannot be reached. ``hint`` says what to do."""

    code, http_status, fault = -31001, 503, "operator"

    def __init__(self, text: str, hint: str = "", **data: Any) -> None:
        super().__init__(text, hint=hint or None, **data)
        self.hint = hint


# --- ours --------------------------------------------------------------------------------------------------


class SupervisorAway(MetaMCPError):
    """The link to the supervisor is down; it is being restarted."""

    code, http_status, fault = -31001, 503, "gateway"


class ShuttingDown(MetaMCPError):
    code, http_status, fault = -31001, 503, "gateway"


def server_unavailable(server: str, state: str, reason: str, retry_after_ms: int | None = None) -> ServerUnavailable:
    """The one wording for a server that cannot be used now."""
    detail: Mapping[str, Any] = {"server": server, "state": state, "reason": reason, "retryAfterMs": retry_after_ms}
    return ServerUnavailable(f"server {server!r} is unavailable: {reason}", **detail)
