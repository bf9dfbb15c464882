"""The running gateway, asked from the command line over the link that its web workers use."""

from __future__ import annotations

import json
from typing import Any

import click

from metamcp.config.settings import Settings
from metamcp.gateway.interface import Ask, Is
from metamcp.link.client import LinkClient
from metamcp.telemetry import logs

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 30.0


def order(settings: Settings, wanted: Ask) -> dict[str, Any]:
    """Raises ClickException also where the gateway says why it does not obey."""
    document = ask(settings, wanted)
    if "error" in document:
        raise click.ClickException(document["error"])
    return document


def ask(settings: Settings, question: Ask) -> dict[str, Any]:
    """The running gateway's answer. Raises ClickException when it gives none."""
    logs.get("link.client").disabled = True  # that this connection ends is no news
    link = LinkClient(settings.link)
    link.start()
    try:
        link.wait_connected(_CONNECT_SECONDS)
        answer = link.exchange(question).next(_ANSWER_SECONDS)
    finally:
        link.close()
    if answer is None or answer.kind != Is.ANSWER:
        reason = "it did not answer in time" if answer is None else f"nobody answers at {settings.link}"
        raise click.ClickException(f"the running gateway cannot be asked: {reason}")
    document: dict[str, Any] = json.loads(answer.data)
    return document


def changes(document: dict[str, dict[str, list[str]]]) -> list[str]:
    return [
        f"{kind} {what}: {', '.join(names)}"
        for kind, lists in document.items()
        for what, names in lists.items()
        if names
    ]
