"""API keys over HTTP: listed, made and taken back by the supervisor, whose file it is (``access/keyfile.py``)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metamcp.access import issuing, keyfile, keys
from metamcp.access.issuing import KeysRefused
from metamcp.access.keys import KeysUnusable, Record
from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Share
from metamcp.config.live import Live
from metamcp.gateway.interface import MAX_EDIT, Ask, Reply
from metamcp.gateway.operators import Body, answer, find_out
from metamcp.gateway.router import Operator


def keeping(
    reactor: Reactor, workers: Share, state_dir: Path, live: Live, wall: Callable[[], float] = time.time
) -> dict[str, Operator]:
    """By subject. ``workers`` read and write the file."""
    path = keyfile.path_in(state_dir)

    def listed(_ask: Ask) -> Body:
        now = wall()
        return (200, {"document": [_shown(record, now) for record in keyfile.read(path).records]})

    def create(ask: Ask) -> Body:
        body = ask.edit.body if ask.edit is not None else b""
        wish = issuing.wish_of(body) if len(body) <= MAX_EDIT else None
        if wish is None:
            return _mistaken([("(document)", 'must be {"name": TEXT, "scopes": [TEXT, …], "expires": "90d"}')])
        if problems := wish.problems():
            return _mistaken(problems)
        now = wall()
        key, record = wish.issue(int(now), secrets.token_bytes(keys.KEY_BYTES))
        keyfile.rewrite(path, lambda records: issuing.add(records, record))
        text = f"key {record.id} of {record.name}: keep it now, it is not shown again"
        warnings = wish.unknown_scopes(tuple(live.config.endpoints))
        return (201, {"done": True, "text": text, "key": key, "warnings": warnings, **_shown(record, now)})

    def revoke(ask: Ask) -> Body:
        gone: list[Record] = []

        def remove(records: list[Record]) -> None:
            gone.extend(record for record in records if record.id == ask.argument)
            left = [record for record in records if record not in gone]
            if gone and issuing.locks_out(left, wall()):
                raise KeysRefused(
                    f"key {ask.argument} is the last valid one with the scope {keys.ADMIN}: without it nobody could "
                    "give orders here. Make another one first, or revoke it with python -m metamcp keys revoke"
                )
            records[:] = left

        keyfile.rewrite(path, remove)
        if not gone:
            return (404, {"error": f"there is no key with the id {ask.argument!r}"})
        return (200, {"done": True, "text": f"revoked: {', '.join(f'{it.name} {it.id}' for it in gone)}"})

    def operator(work: Callable[[Ask], Body]) -> Operator:
        def obey(reply: Reply, ask: Ask) -> None:
            find_out(reactor, workers, lambda: _answered(lambda: work(ask), path), lambda body: answer(reply, body))

        return obey

    return {"keys": operator(listed), "create-key": operator(create), "revoke-key": operator(revoke)}


def _answered(work: Callable[[], Body], path: Path) -> Body:
    try:
        return work()
    except KeysRefused as refused:
        return (409, {"error": str(refused)})
    except KeysUnusable as unusable:
        return (503, {"error": f"{path} cannot be used: {unusable}"})
    except OSError as failed:
        return (503, {"error": f"{path} cannot be used: {failed.strerror}"})


def _shown(record: Record, now: float) -> dict[str, Any]:
    return {
        "id": record.id, "name": record.name, "scopes": list(record.scopes), "created": record.created,
        "expires": record.expires, "valid": record.valid(now),
    }  # fmt: skip


def _mistaken(problems: list[tuple[str, str]]) -> Body:
    found = [{"path": path, "text": text} for path, text in problems]
    return (422, {"error": "no key is made, for this has mistakes", "problems": found})
