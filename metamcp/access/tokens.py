"""Access tokens: JWTs (RFC 9068) judged by keys that are at hand. Nothing is fetched and nothing waits here.

Importing this costs a process some 20 MiB, so the web tier does it when the first token comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from metamcp.access.policy import Trust

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
FITTING: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
"""Asymmetric algorithms by kind of key and curve (RFC 7518, 3.1; RFC 8037): a public key must never be taken for a
shared secret, nor a token without a signature for one with it."""

ALGORITHMS = frozenset(name for names in FITTING.values() for name in names)
LEEWAY_SECONDS = 5
"""Clocks differ: by so much a token may be too early or too late."""

MAX_TOKEN = 16 * 1024
MAX_TRIED = 10
"""Keys that one token without ``kid`` is tried with."""

MAX_SUBJECT = 255
_LEAST_RSA_BITS = 2048
_SUBJECT = re.compile(r"[^\x00-\x20\x7f]+")
_TEXTS: tuple[tuple[type[PyJWTError], str], ...] = (
    (ExpiredSignatureError, "the token has expired"),
    (ImmatureSignatureError, "the token is not valid yet"),
    (InvalidAudienceError, "the token is meant for another resource"),
    (InvalidIssuerError, "the token is from another issuer"),
    (InvalidSignatureError, "the signature of the token is wrong"),
    (MissingRequiredClaimError, "the token lacks a claim that it needs: iss, sub, aud and exp"),
)


class TokenInvalid(Exception):
    """401. The text is safe to show and repeats nothing of the token."""


class KeyUnknown(Exception):
    """The token names a key that is not at hand: the issuer may have a new one."""


class ScopeLacking(Exception):
    """403: the token is good, but not for this."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key of an issuer. ``algorithms``: what it may verify."""

    kid: str
    algorithms: frozenset[str]
    key: Any


def public_keys(jwks: Iterable[Mapping[str, object]]) -> tuple[PublicKey, ...]:
    """The usable keys of a set (RFC 7517, 4): asymmetric ones for signatures. What else is in it is passed over."""
    return tuple(found for jwk in jwks if (found := _public_key(jwk)) is not None)


def subject(token: str, keys: Sequence[PublicKey], trust: Trust, audiences: Iterable[str]) -> str:
    """Of a token that is good for one of ``audiences`` now. Raises TokenInvalid, KeyUnknown or ScopeLacking."""
    if len(token) > MAX_TOKEN:
        raise TokenInvalid("the token is too long")
    algorithm, kid = _header(token)
    fitting = [it for it in keys if algorithm in it.algorithms and (kid is None or it.kid == kid)]
    if not fitting:
        raise KeyUnknown
    claims = _verified(token, algorithm, fitting[:MAX_TRIED], trust, tuple(audiences))
    if not set(trust.scopes) <= scopes_of(claims):
        raise ScopeLacking
    who = claims.get("sub")
    if not isinstance(who, str) or len(who) > MAX_SUBJECT or not _SUBJECT.fullmatch(who):
        raise TokenInvalid("the token says not plainly whose it is (sub)")
    return who


def scopes_of(claims: Mapping[str, object]) -> frozenset[str]:
    """``scope`` (RFC 8693, 4.2), or ``scp`` as a text or a list, as widespread servers write it."""
    found: set[str] = set()
    for value in (claims.get("scope"), claims.get("scp")):
        listed = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else ()
        found.update(scope for scope in listed if isinstance(scope, str) and scope)
    return frozenset(found)


def _header(token: str) -> tuple[str, str | None]:
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise TokenInvalid("this is no JWT") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenInvalid("the token is not signed with an asymmetric algorithm that is known here")
    if "crit" in header:
        raise TokenInvalid("the token demands an extension that is not known here (crit)")
    return algorithm, kid if isinstance(kid, str) else None


def _verified(
    token: str, algorithm: str, keys: Sequence[PublicKey], trust: Trust, audiences: Sequence[str]
) -> dict[str, object]:
    problem: PyJWTError | ValueError | RecursionError = InvalidSignatureError()
    for candidate in keys:
        try:
            claims: dict[str, object] = jwt.decode(
                token, candidate.key, algorithms=[algorithm], audience=list(audiences), issuer=trust.issuer,
                leeway=LEEWAY_SECONDS, options={"require": ["iss", "sub", "aud", "exp"]},
            )  # fmt: skip
        except InvalidSignatureError as wrong:
            problem = wrong
        except (PyJWTError, ValueError, RecursionError) as refused:
            problem = refused
            break
        else:
            return claims
    raise TokenInvalid(next((text for kind, text in _TEXTS if isinstance(problem, kind)), "the token is not valid"))


def _public_key(jwk: Mapping[str, object]) -> PublicKey | None:
    fitting = FITTING.get((str(jwk.get("kty")), str(jwk.get("crv", ""))), ())
    algorithms = frozenset(name for name in fitting if jwk.get("alg", name) == name)
    operations = jwk.get("key_ops", ["verify"])
    meant = jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    if not algorithms or not meant or "d" in jwk:
        return None
    try:
        key = jwt.PyJWK(dict(jwk), algorithm=min(algorithms)).key
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        return None
    kid = jwk.get("kid")
    return PublicKey(kid if isinstance(kid, str) else "", algorithms, key)
