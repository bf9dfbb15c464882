"""An issuer of tokens: a small authorization server with its metadata, its keys, and whatever tokens a test wants."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from loopback import Line, loopback

Json = dict[str, Any]
_MAKE: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class SigningKey:
    """A pair of keys; ``jwk`` is the public half."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private = _MAKE[algorithm]()
        public: Json = json.loads(get_default_algorithms()[algorithm].to_jwk(self.private.public_key()))
        self.jwk: Json = public | {"kid": kid, "use": "sig"}
        self.jwk.pop("key_ops", None)

    def sign(self, claims: Json, **header: Any) -> str:
        head = {name: value for name, value in {"kid": self.kid, **header}.items() if value is not None}
        return jwt.encode(claims, self.private, self.algorithm, head)


def claims(issuer: str, audience: Any, **changed: Any) -> Json:
    """Of a good token; None takes a claim out."""
    now = int(time.time())
    found = {
        "iss": issuer, "sub": "alice", "aud": audience, "exp": now + 600, "nbf": now, "iat": now, "scope": "mcp",
    } | changed  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


class Issuer:
    """``keys`` are those that it publishes; ``asked`` the paths that were asked for; ``down``: it answers 500."""

    def __init__(self) -> None:
        self.keys = [SigningKey("first", "RS256")]
        self.asked: list[str] = []
        self.down = False
        self.url = ""

    def answer(self, line: Line) -> None:
        path = line.head.split()[1]
        self.asked.append(path)
        if self.down:
            line.answer("500 Broken")
        elif path == "/.well-known/openid-configuration":
            line.answer("200 OK", json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode())
        elif path == "/keys":
            line.answer("200 OK", json.dumps({"keys": [key.jwk for key in self.keys]}).encode())
        else:
            line.answer("404 Not Found")

    def token(self, audience: Any, key: SigningKey | None = None, **changed: Any) -> str:
        return (key or self.keys[-1]).sign(claims(self.url, audience, **changed))


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    with loopback(issuer.answer) as server:
        issuer.url = server.url.removesuffix("/mcp")
        yield issuer
