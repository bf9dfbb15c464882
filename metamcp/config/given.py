"""What one client's instance of a server gets beyond the configuration of the server: headers that its client sent, and
what the operator configured for its principal. Everybody else's instances have neither."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

_KEY = secrets.token_bytes(16)  # dies with the process


@dataclass(frozen=True, slots=True)
class Given:
    """By the name of a variable, or of a remote server's header. ``values`` are as the client sent them; ``${…}`` in
    ``templates`` is replaced when the instance is started. None of it is ever shown."""

    values: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values or self.templates)

    def __repr__(self) -> str:
        return f"Given({', '.join(sorted({*self.values, *self.templates}))})"

    @property
    def mark(self) -> str:
        """Differs where what the client sent differs, and tells nothing about it; "" where it sent nothing."""
        if not self.values:
            return ""
        text = "\0".join(part for pair in sorted(self.values.items()) for part in pair)
        return f"+{hashlib.blake2b(text.encode(), key=_KEY, digest_size=16).hexdigest()}"


NOTHING = Given()
