"""The image of the bench server, made without a registry from this machine's Python, as the demo's is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from demo.image import PYTHON, image_ids, import_image

TAG = "metamcp-bench:local"
LABEL = "metamcp.bench"
SERVER = Path(__file__).with_name("benchserver.py")


def ensure_image() -> str:
    """Makes it where it is lacking or old; its tag. Raises what ``import_image`` does."""
    maker = Path(__file__).resolve().parents[2] / "demo" / "image.py"
    value = hashlib.sha256(maker.read_bytes() + SERVER.read_bytes()).hexdigest()[:16]
    if not image_ids(TAG, label=f"{LABEL}={value}"):
        entrypoint = [PYTHON, "-I", "-S", "/benchserver.py"]
        import_image(TAG, {"/benchserver.py": SERVER}, entrypoint=entrypoint, labels={LABEL: value})
    return TAG
