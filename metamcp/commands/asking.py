"""The running gateway, asked from the command line over the link that its web workers use."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from metamcp.config.settings import Settings
from metamcp.gateway.interface import Ask, Is, Outbound, Subject
from metamcp.link.client import LinkClient
from metamcp.telemetry import logs

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 30.0
_LISTEN_SECONDS = 60.0  # at a time, for ever


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
    with _linked(settings) as link:
        answer = link.exchange(question).next(_ANSWER_SECONDS)
    if answer is None or answer.kind != Is.ANSWER:
        raise _unanswered(settings, answer)
    document: dict[str, Any] = json.loads(answer.data)
    return document


def follow(settings: Settings, question: Ask) -> Iterator[Outbound]:
    """Each EVENT of a question that stays open, until the gateway ends it. Raises ClickException when it says why it
    does not answer, and when it goes away."""
    with _linked(settings) as link:
        exchange = link.exchange(question)
        while (item := exchange.next(_LISTEN_SECONDS)) is None or not item.final:
            if item is not None and item.kind == Is.EVENT:
                yield item
    if item.kind == Is.ANSWER:
        raise click.ClickException(json.loads(item.data)["error"])
    if item.kind != Is.ENDED:
        raise _unanswered(settings, item)


@contextmanager
def _linked(settings: Settings) -> Iterator[LinkClient]:
    logs.get("link.client").disabled = True  # that this connection ends is no news
    link = LinkClient(settings.link)
    link.start()
    try:
        link.wait_connected(_CONNECT_SECONDS)
        yield link
    finally:
        link.close()


def _unanswered(settings: Settings, answer: Outbound | None) -> click.ClickException:
    reason = "it did not answer in time" if answer is None else f"nobody answers at {settings.link}"
    return click.ClickException(f"the running gateway cannot be asked: {reason}")


def changes(document: dict[str, dict[str, list[str]]]) -> list[str]:
    return [
        f"{kind} {what}: {', '.join(names)}"
        for kind, lists in document.items()
        for what, names in lists.items()
        if names
    ]
