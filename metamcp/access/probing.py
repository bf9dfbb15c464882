"""What lets a check of our own into an endpoint, to a probe stream and nothing else: no key leaves its owner for that.

A ticket is an HMAC with the hash of any key that is good, as the one of HTTP+SSE (``keys.ticket_of``), and good for
minutes. Whoever can read the hashes can make one: the supervisor, the web tier, and the command line beside them.
"""

from __future__ import annotations

from metamcp.access.keys import Keys, ticket_of

HEADER = "X-MetaMCP-Probe"
SECONDS = 20 * 60
"""For which a ticket is good: longer than the longest probe that it opens."""

_DIGITS = 12


def ticket(keys: Keys, now: float) -> str:
    """For ``HEADER``; "" where there is no good key, and an endpoint that asks for nothing is all there can be."""
    until = int(now) + SECONDS
    record = next((record for record in keys.records if record.valid(now)), None)
    return f"{until}.{ticket_of(record, _subject(until))}" if record is not None else ""


def opens(keys: Keys, shown: str, now: float) -> bool:
    until, _, digest = shown.partition(".")
    if not (until.isascii() and until.isdigit() and len(until) <= _DIGITS and now < int(until) <= now + SECONDS):
        return False
    record = keys.holder(digest, _subject(int(until)))
    return record is not None and record.valid(now)


def _subject(until: int) -> str:
    """Nothing that could be the id of a session."""
    return f"probe until {until}"
