"""How many examples hypothesis makes: ``--hypothesis-profile`` says it (``quick`` for ``make check``, ``usual``, or
``many`` for ``make nightly``), and a test may take a share of its own."""

from __future__ import annotations

from hypothesis import settings


def register_profiles() -> None:
    """Without deadlines: they would measure the machine."""
    settings.register_profile("usual", deadline=None, max_examples=50)
    settings.register_profile("quick", deadline=None, max_examples=15)
    settings.register_profile("many", deadline=None, max_examples=400)
    settings.load_profile("usual")


def share(factor: float) -> settings:
    """``factor`` times the examples of the profile: more for what matters most, fewer for what is slow to make."""
    return settings(max_examples=max(1, round(settings().max_examples * factor)))
