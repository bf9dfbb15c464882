"""What a request is called in the logs of both tiers: as its client or a proxy has named it (``X-Request-ID``), else by
a number of this worker."""

from __future__ import annotations

import itertools
import re
import secrets

HEADER = "X-Request-ID"

_WELL_FORMED = re.compile(r"(?!.*mmcp_)[A-Za-z0-9._:+/=@-]{1,128}")
"""What every known proxy makes. It is shown in logs, so a key does not count as a name."""


class RequestIds:
    """Of one worker: names that no other worker gives, without a random number for each."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(4)
        self._serial = itertools.count(1)

    def of(self, given: str | None) -> str:
        """``given`` is the header; what is not well-formed does not count."""
        if given is not None and _WELL_FORMED.fullmatch(given):
            return given
        return f"{self._prefix}-{next(self._serial)}"
