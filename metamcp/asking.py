"""The running gateway, asked from the command line over the link that its web workers use."""

from __future__ import annotations

import json
import os
import pwd
from typing import Any

import click

from metamcp.config.settings import Settings
from metamcp.gateway.interface import Ask, Is, Subject
from metamcp.link.client import LinkClient
from metamcp.telemetry import logs

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 30.0


def order_of(subject: Subject, about: str = "") -> Ask:
    """In the name of the user who calls the command; whoever reaches the link may order anything."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    return Ask(subject, about, f"user {name}")


def order(settings: Settings, subject: Subject, about: str = "") -> dict[str, Any]:
    """Raises ClickException also where the gateway says why it does not obey."""
    document = ask(settings, order_of(subject, about))
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
