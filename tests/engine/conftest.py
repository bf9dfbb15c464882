from __future__ import annotations

from engine_fixtures import no_container_is_left

__all__ = ["no_container_is_left"]
