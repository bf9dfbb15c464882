"""The public keys of an issuer, over HTTP: bounded in time and size, redirects refused. Blocks; for worker threads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from metamcp.config import names

DEADLINE_SECONDS = 5.0
"""For one address: connecting, waiting and reading."""

MAX_BYTES = 256 * 1024
MAX_KEYS = 50
_CHUNK = 16 * 1024

Jwks = list[dict[str, object]]


class FetchFailed(Exception):
    """The text says what is wrong with which address, for the log."""


def fetch_keys(issuer: str, source: str) -> Jwks:
    """The JWK set at ``source``, or, where that is the issuer itself, at the address that its metadata names.
    Raises FetchFailed."""
    url = _discover(issuer) if source == issuer else source
    keys = _get(url).get("keys")
    if not isinstance(keys, list):
        raise FetchFailed(f"{url}: holds no JWK set")
    return [key for key in keys[:MAX_KEYS] if isinstance(key, dict)]


def metadata_urls(issuer: str) -> Iterator[str]:
    """Where an issuer may describe itself (RFC 8414, 3; OpenID Connect Discovery 1.0, 4; MCP, Authorization Server
    Metadata Discovery): in the order in which clients ask."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    yield f"{origin}/.well-known/oauth-authorization-server{path}"
    yield f"{origin}/.well-known/openid-configuration{path}"
    if path:
        yield f"{origin}{path}/.well-known/openid-configuration"


def _discover(issuer: str) -> str:
    problems = []
    for url in metadata_urls(issuer):
        try:
            return _jwks_url(issuer, _get(url))
        except FetchFailed as failed:
            problems.append(str(failed))
    raise FetchFailed("; ".join(problems))


def _jwks_url(issuer: str, metadata: dict[str, object]) -> str:
    """RFC 8414, 3.3: metadata that names another issuer must not be used."""
    if metadata.get("issuer") != issuer:
        raise FetchFailed(f"the metadata of {issuer} names another issuer")
    url = metadata.get("jwks_uri")
    if not isinstance(url, str) or names.trusted_url(url):
        raise FetchFailed(f"the metadata of {issuer} names no usable jwks_uri; set jwksUrl")
    return url


def _get(url: str) -> dict[str, object]:
    try:
        document = json.loads(_read(url))
    except (requests.RequestException, HTTPError, OSError) as failed:
        raise FetchFailed(f"{url}: {type(failed).__name__}") from failed
    except (ValueError, RecursionError):
        raise FetchFailed(f"{url}: no JSON") from None
    if not isinstance(document, dict):
        raise FetchFailed(f"{url}: no JSON object")
    return document


def _read(url: str) -> bytes:
    until = time.monotonic() + DEADLINE_SECONDS
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    with (
        requests.Session() as session,
        session.get(url, headers=headers, timeout=DEADLINE_SECONDS, stream=True, allow_redirects=False) as answer,
    ):
        if answer.status_code != 200:
            raise FetchFailed(f"{url}: answered {answer.status_code}")
        return _body(url, answer, until)


def _body(url: str, answer: requests.Response, until: float) -> bytes:
    """By what has come, not by what was asked for: one that drips must not last longer than the deadline."""
    body = b""
    while chunk := answer.raw.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise FetchFailed(f"{url}: more than {MAX_BYTES // 1024} KiB")
        if time.monotonic() > until:
            raise FetchFailed(f"{url}: not complete within {DEADLINE_SECONDS:g} s")
    return body
