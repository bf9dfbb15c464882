"""What a failed HTTP request to a remote server means: whose fault it is, and what somebody can do."""

from __future__ import annotations

from metamcp.errors import AtCapacity, MetaMCPError, RemoteRefused, ServerDied, ServerMisbehaved, ServerUnavailable
from metamcp.telemetry import logs
from metamcp.upstream.remote.address import shown
from metamcp.upstream.remote.exchange import Over
from metamcp.upstream.remote.message import refusal

_MOST_SAID = 300
_OWN_HEADERS = "the operator has to set or renew its headers in servers.json"


def fault(server: str, url: str, over: Over, opening: bool = False) -> MetaMCPError:
    """The error for a request that ended without its answer; ``data.reason`` is the text without the server's name.
    ``opening``: it was the first one, so the address itself is in question."""
    if over.trouble is not None:
        return _no_answer(server, url, over)
    if over.status in (401, 403):
        return _error(
            RemoteRefused, server, f"it refuses the gateway (HTTP {over.status}): {_OWN_HEADERS}{_said(over)}", over
        )
    if over.head is not None and 300 <= over.status < 400:
        where = shown(over.head.location) if "://" in over.head.location else "another address"
        text = f"it redirects to {where} (HTTP {over.status}), which is not followed: put the final address into url"
        return _error(RemoteRefused, server, text, over)
    if opening and over.status in (404, 405, 406):
        text = f"no MCP endpoint is at its url (HTTP {over.status}): check its path and transport (an older server "
        return _error(RemoteRefused, server, text + f'may need "transport": "sse"){_said(over)}', over)
    return _error(*_by_status(server, over), over)


def names_an_era(error: MetaMCPError) -> bool:
    """May a refused ``server/discover`` mean that the server does not know it? Not where access is refused, and not
    in an outage (2026-07-28, Versioning: clients that speak both)."""
    status = error.data.get("status") or 0
    return 200 <= status < 500 and status not in (401, 403, 407, 429)


def _by_status(server: str, over: Over) -> tuple[type[MetaMCPError], str, str]:
    kind = over.head.kind if over.head else ""
    if over.status in {429, 503}:
        return ServerUnavailable, server, f"it takes no more requests now (HTTP {over.status}){_said(over)}"
    if over.status >= 500:
        return ServerMisbehaved, server, f"it failed (HTTP {over.status}); ask who runs it{_said(over)}"
    if over.status >= 400:
        return ServerMisbehaved, server, f"it refused the request (HTTP {over.status}){_said(over)}"
    if over.head is not None and over.head.streams:
        return ServerDied, server, "it closed the stream before it answered"
    if kind == "application/json" or not over.body:
        return ServerMisbehaved, server, f"it accepted the request (HTTP {over.status}) and did not answer it"
    text = f"it answered with {kind or 'something'}, not JSON or an event stream: is url that of its MCP endpoint?"
    return ServerMisbehaved, server, text


def _no_answer(server: str, url: str, over: Over) -> MetaMCPError:
    where, detail = shown(url), over.detail
    if over.trouble == "busy":
        return _error(AtCapacity, server, detail, over)
    if over.trouble == "address":
        return _error(RemoteRefused, server, f"{detail}: correct url and headers in servers.json", over)
    if over.trouble == "unreachable":
        return _error(ServerUnavailable, server, f"{where} cannot be reached: {detail}", over)
    if over.trouble == "tls":
        text = f"{where} has no certificate that can be trusted: {detail}. A private authority belongs into the file "
        return _error(RemoteRefused, server, text + "that REQUESTS_CA_BUNDLE names", over)
    if over.trouble == "too-large":
        return _error(ServerMisbehaved, server, detail, over)
    text = f"{where} broke off before it answered: {detail}; whether the request was carried out is not known"
    return _error(ServerDied, server, text, over)


def _said(over: Over) -> str:
    said = logs.redact(refusal(over.body))[:_MOST_SAID]  # in this order: half a secret is not known for one
    return f"; it says: {said}" if said else ""


def _error(kind: type[MetaMCPError], server: str, reason: str, over: Over) -> MetaMCPError:
    return kind(f"server {server!r}: {reason}", server=server, reason=reason, status=over.status or None)


def reason_of(error: MetaMCPError) -> str:
    """Why, without the server's name."""
    return str(error.data.get("reason", error.text))
