"""The labels and names by which the gateway finds its own containers again."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

INSTANCE = "metamcp.instance"
SERVER = "metamcp.server"
SESSION = "metamcp.session"
GENERATION = "metamcp.generation"
CONFIG = "metamcp.config"

PROBE = "docker-test"
"""The CONFIG, and the server's name, of a container that a diagnosis runs and removes itself."""

_NAME_PART = 40


@dataclass(frozen=True, slots=True)
class Identity:
    """``instance`` outlives restarts (see ``instance``); ``generation`` is new with each supervisor process."""

    instance: str
    generation: str


def container_labels(identity: Identity, server: str, session: str, fingerprint: str) -> dict[str, str]:
    """All five labels of docker.md section 1; ``session`` is "" for a container that serves none yet."""
    return {
        INSTANCE: identity.instance,
        SERVER: server,
        SESSION: session,
        GENERATION: identity.generation,
        CONFIG: fingerprint,
    }


def container_name(server: str, unique: str) -> str:
    """``metamcp-<server>-<8 hex>``; characters that Docker does not take become "-", a long name is cut."""
    part = re.sub(r"[^a-zA-Z0-9_.-]", "-", server)[:_NAME_PART]
    suffix = unique if re.fullmatch(r"[0-9a-f]{8}", unique) else hashlib.sha256(unique.encode()).hexdigest()[:8]
    return f"metamcp-{part}-{suffix}"
