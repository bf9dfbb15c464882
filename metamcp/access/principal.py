"""Who is calling, as one name that sessions are bound to: a key's name, ``sub@issuer`` of a token, or nobody."""

from __future__ import annotations

from metamcp.config.model import Auth

ANONYMOUS = "anonymous"
"""Nobody in particular. No key can have this name."""


def of_token(subject: str, issuer: str) -> str:
    """A subject may hold an ``@``, an issuer in the configuration may not: the last one divides the two."""
    return f"{subject}@{issuer}"


def proves(principal: str, auth: Auth, issuer: str) -> bool:
    """Is this a principal that only ``auth`` can have found? A name of a key has no ``@``."""
    if auth == "none":
        return True
    if auth == "api-key":
        return principal != ANONYMOUS and "@" not in principal
    subject, at, of = principal.rpartition("@")
    return bool(subject and at) and of == issuer
