from __future__ import annotations

from composed import images
from engine_fixtures import no_container_is_left

__all__ = ["images", "no_container_is_left"]
