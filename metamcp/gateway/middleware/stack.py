"""The middleware of one namespace, in its order; whatever goes wrong in one of them is an error that names it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import NamedTuple, TypeVar

from metamcp.errors import MetaMCPError, MiddlewareFailed, RefusedByPolicy
from metamcp.gateway.middleware.interface import Context, Listed, Middleware, Refusal
from metamcp.telemetry import logs
from metamcp.telemetry.sparing import Sparing

SLOW_SECONDS = 0.05
"""A hook that takes longer is told: meanwhile nobody was served."""

_log = logs.get("gateway.middleware")

T = TypeVar("T")


class Link(NamedTuple):
    """``middleware``: None for one that could not be made, and so lets nothing through."""

    use: str
    middleware: Middleware | None


class Stack:
    """``hearing``: those of ``links`` that want to see what servers say by themselves. ``count`` hears of each failure:
    (namespace, middleware). Owned by the reactor's thread."""

    def __init__(self, namespace: str, links: tuple[Link, ...], count: Callable[[str, str], None]) -> None:
        self.namespace = namespace
        self.take(links)
        self._count = count
        self._sparing = Sparing(time.monotonic)

    def take(self, links: tuple[Link, ...]) -> None:
        """Consist of ``links`` from now on."""
        self.links = links
        self.hearing = tuple(link for link in links if _hears(link.middleware))

    def listed(self, kind: str, items: list[Listed]) -> list[Listed]:
        """What is left of ``items``, perhaps changed. Raises MiddlewareFailed: then nothing is."""
        context = Context(self.namespace)
        for link in self.links:
            items = self.run(link, "on_list", partial(_kept, kind, items, context))
        return items

    def run(self, link: Link, name: str, hook: Callable[[Middleware], T]) -> T:
        """Raises MetaMCPError."""
        begun = time.perf_counter()
        try:
            if link.middleware is None:
                raise self._failure(link, name)
            return hook(link.middleware)
        except MetaMCPError:
            raise
        except Refusal as refusal:
            text = f"refused by middleware {link.use!r}: {refusal}"
            raise RefusedByPolicy(text, rule=link.use, namespace=self.namespace) from None
        except Exception as error:
            self._tell(link, name, error)
            raise self._failure(link, name) from error
        finally:
            took = time.perf_counter() - begun
            if took > SLOW_SECONDS and (omitted := self._sparing.admit()) is not None:
                fields = logs.fields(
                    namespace=self.namespace, middleware=link.use, hook=name, seconds=round(took, 3),
                    omitted=omitted or None,
                )  # fmt: skip
                _log.warning("middleware-slow", extra=fields)

    def made_in_vain(self, use: str, error: Exception) -> Link:
        """In the place of one whose constructor raised ``error``."""
        link = Link(use, None)
        self._tell(link, "__init__", error)
        return link

    def _failure(self, link: Link, hook: str) -> MiddlewareFailed:
        self._count(self.namespace, link.use)
        text = f"middleware {link.use!r} of namespace {self.namespace!r} failed; the gateway's log says where"
        return MiddlewareFailed(text, namespace=self.namespace, middleware=link.use, hook=hook)

    def _tell(self, link: Link, hook: str, error: Exception) -> None:
        """Where it was raised, but not its text, in which may stand what a client or a server has sent."""
        if (omitted := self._sparing.admit()) is None:
            return
        fields = logs.fields(
            namespace=self.namespace, middleware=link.use, hook=hook, error=type(error).__name__, at=_place(error),
            omitted=omitted or None,
        )  # fmt: skip
        _log.error("middleware-failed", extra=fields)


def _hears(middleware: Middleware | None) -> bool:
    """Whether it has the hook. One that could not be made lets nothing through, so no message either."""
    return middleware is None or getattr(middleware.on_message, "__func__", None) is not Middleware.on_message


def _place(error: Exception) -> str:
    """File and line that raised it, without a look into the file."""
    last = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        last = f"{PurePath(frame.f_code.co_filename).name}:{line}"
    return last


def _kept(kind: str, items: list[Listed], context: Context, middleware: Middleware) -> list[Listed]:
    """Raises ValueError for a list that has something else in it than ``items`` has."""
    kept = list(middleware.on_list(kind, list(items), context))
    if len({id(one) for one in kept} & {id(one) for one in items}) != len(kept):
        raise ValueError("it returned what it was not given, or something twice")
    return kept
