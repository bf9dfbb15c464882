"""The configuration, changed over HTTP: read, edited, judged as a whole, planned, written, and taken over by the
reloader, as what an editor writes is. The supervisor does all of it; the web tier cannot open the files."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Share, Workers
from metamcp.config import editing, writing
from metamcp.config.document import read_json
from metamcp.config.editing import FILES, Collection
from metamcp.config.live import Live
from metamcp.config.loader import Loaded, load, read_content, text_of
from metamcp.config.model import Allowlist, ServerSpec
from metamcp.config.plan import Plan, plan
from metamcp.config.rewriting import rewritten
from metamcp.config.settings import Settings
from metamcp.errors import CommandInvalid, ConfigInvalid, MetaMCPError, RefusedByPolicy
from metamcp.factory.key_keeping import keeping
from metamcp.factory.starting import resolve_remote
from metamcp.gateway.interface import MAX_EDIT, Ask, Edit, Reply
from metamcp.gateway.operators import Body, answer, find_out
from metamcp.gateway.reload import Reloader
from metamcp.gateway.router import Operator
from metamcp.runtime.command.effective import Resolver
from metamcp.telemetry import logs

MOST_WAITING = 16
"""Changes and readings that wait for their turn."""

_log = logs.get("factory.administering")


def administering(
    reactor: Reactor,
    readers: Workers,
    settings: Settings,
    live: Live,
    resolver: Callable[[], Resolver],
    reloader: Callable[[], Reloader],
) -> dict[str, Operator]:
    """By subject. Changes of the configuration and of keys have a bounded part of the thread that reads files."""
    share = Share(readers, MOST_WAITING)
    changing = Administration(reactor, share, settings.config_dir, live, resolver, reloader)
    return changing.operators() | keeping(reactor, share, settings.state_dir, live)


class _Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str, **more: Any) -> None:
        super().__init__(text)
        self.body: Body = (status, {"error": text, **more})


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """One of the files as it was read. ``content``: None where there is none."""

    path: Path
    content: bytes | None
    text: str
    document: Any
    tag: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Change:
    source: _Source
    text: str
    outcome: dict[str, Any]
    created: bool


class Administration:
    """Owned by the reactor's thread; ``workers``, which must be one thread, read and write one after the other."""

    def __init__(
        self,
        reactor: Reactor,
        workers: Share,
        config_dir: Path,
        live: Live,
        resolver: Callable[[], Resolver],
        reloader: Callable[[], Reloader],
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._config_dir = config_dir
        self._live = live
        self._resolver = resolver
        self._reloader = reloader
        self._salt = secrets.token_bytes(16)  # a tag must not be good for guessing what is in the file

    def operators(self) -> dict[str, Operator]:
        """By subject."""
        found: dict[str, Operator] = {"configured": self._read, "plan-change": self._plan}
        return found | dict.fromkeys(("create", "replace", "change", "delete"), self._change)

    # --- in the order of what is asked -------------------------------------------------------------------

    def _read(self, reply: Reply, ask: Ask) -> None:
        self._find(reply, ask, self._shown, lambda body: answer(reply, body))

    def _plan(self, reply: Reply, ask: Ask) -> None:
        self._find(reply, ask, lambda edit: (200, self._prepared(edit).outcome), lambda body: answer(reply, body))

    def _change(self, reply: Reply, ask: Ask) -> None:
        def over(body: Body) -> None:
            if body[0] >= 300:
                answer(reply, body)
            else:
                fields = logs.fields(change=ask.subject, about=ask.argument, principal=ask.principal or None)
                _log.info("configuration-written", extra=fields)
                self._reloader().request("an operator's change", lambda told: answer(reply, _in_force(body, told)))

        self._find(reply, ask, self._written, over)

    def _find(self, reply: Reply, ask: Ask, find: Callable[[Edit], Body], done: Callable[[Body], None]) -> None:
        edit = ask.edit
        if edit is None or edit.of == "keys" or len(edit.body) > MAX_EDIT:
            answer(reply, (413, {"error": f"a change has at most {MAX_EDIT // 1024} KiB"}))
            return
        find_out(self._reactor, self._workers, lambda: _answered(lambda: find(edit)), done)

    # --- on the worker's thread --------------------------------------------------------------------------

    def _shown(self, edit: Edit) -> Body:
        of = _collection(edit)
        source = self._source(of)
        found = editing.items(source.document, of)
        if not edit.name:
            return (200, {"tag": source.tag, "document": [editing.shown(name, it, of) for name, it in found.items()]})
        if edit.name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise editing.Unknown(f"there is no {editing.ONE[of]} {edit.name!r}; configured: {known}")
        return (200, {"tag": source.tag, "document": editing.shown(edit.name, found[edit.name], of)})

    def _written(self, edit: Edit) -> Body:
        change = self._prepared(edit)
        source = change.source
        content = change.text.encode("utf-8")
        try:
            writing.replace(source.path, content, source.content)
        except writing.Overtaken:
            raise _overtaken(source.path.name, None) from None
        except OSError as failed:
            raise _unwritable(source.path, failed) from None
        return (201 if change.created else 200, change.outcome | {"tag": self._tag(content)})

    def _prepared(self, edit: Edit) -> _Change:
        """Judged as a whole, and nothing is touched."""
        of = _collection(edit)
        source = self._source(of)
        if edit.tags and source.tag not in edit.tags:
            raise _overtaken(source.path.name, source.tag)
        body = None if edit.how == "delete" else editing.body_of(text_of(edit.body))
        document = editing.edited(source.document, editing.Edit(of, edit.name, edit.how, body, edit.before))
        text = rewritten(source.text, source.document, document)
        loaded = self._loaded(source.path.name, text)
        changes = plan(self._live.loaded, loaded, self._resolver().licence)
        named = edit.name if of == "servers" and edit.how != "delete" else ""
        try:
            warnings = list(self._judged(loaded, changes, named))
        except (RefusedByPolicy, CommandInvalid) as refused:
            raise _against_policy(refused, editing.path(document, of, edit.name)) from None
        if not writing.writable(source.path):
            warnings.append(f"{source.path} cannot be written by the gateway: {_READ_ONLY}")
        told = changes.as_json() | _rules(of, source.document, document)
        outcome = {"changes": told, "warnings": warnings, "tag": source.tag}
        return _Change(source, text, outcome, edit.name not in editing.items(source.document, of))

    def _source(self, of: Collection) -> _Source:
        """Raises _Refused for a file that has to be mended by hand first."""
        path = self._config_dir / FILES[of]
        content: bytes | None = None
        try:
            content = read_content(path)
            text = text_of(content)
            self._loaded(path.name, text)
            document, _ = read_json(text)
        except FileNotFoundError:
            if of != "images" or self._live.allowlist != Allowlist():
                raise _Refused(409, f"{path} is gone: put it back first") from None
            text, document = "{}\n", {}
        except OSError as failed:
            raise _Refused(503, f"{path} cannot be read: {failed.strerror}") from None
        except ConfigInvalid as invalid:
            text = "the files have mistakes: mend them first, so that nothing of them is lost"
            raise _Refused(409, text, problems=_problems(invalid)) from None
        return _Source(path, content, text, document, self._tag(content))

    def _loaded(self, file: str, text: str) -> Loaded:
        expected = self._live.allowlist != Allowlist()
        return load(self._config_dir, expects_allowlist=expected, instead={file: text})

    def _tag(self, content: bytes | None) -> str:
        return hmac.new(self._salt, content or b"", hashlib.sha256).hexdigest()[:32]

    def _judged(self, loaded: Loaded, changes: Plan, named: str) -> Iterator[str]:
        """What would not start as it is then. Raises RefusedByPolicy or CommandInvalid where that is the server
        ``named``, whom the change is about."""
        resolver = dataclasses.replace(self._resolver(), allowlist=loaded.allowlist)
        for name in dict.fromkeys((*((named,) if named else ()), *changes.servers.added, *changes.servers.changed)):
            spec = loaded.config.servers[name]
            try:
                if spec.enabled:
                    yield from _objections(resolver, spec)
            except (RefusedByPolicy, CommandInvalid) as refused:
                if name == named:
                    raise
                yield f"server {name!r} would not start: {logs.redact(refused.told)}"
            except MetaMCPError as error:
                yield f"server {name!r} would not start: {logs.redact(error.told)}"


_READ_ONLY = "change it where it comes from; the gateway takes it over by itself"


def _objections(resolver: Resolver, spec: ServerSpec) -> Iterator[str]:
    """Raises MetaMCPError when it would not start."""
    if spec.url:
        resolve_remote(spec)
        return
    verdict = resolver.resolve(spec).verdict
    if verdict is not None and verdict.would_deny:
        yield f"dry run: server {spec.name!r}: {verdict.would_deny}"


def _answered(find: Callable[[], Body]) -> Body:
    try:
        return find()
    except _Refused as refused:
        return refused.body
    except editing.Unknown as unknown:
        return (404, {"error": str(unknown)})
    except editing.Taken as taken:
        return (409, {"error": str(taken)})
    except ConfigInvalid as invalid:
        return (422, {"error": "nothing is changed, for this has mistakes", "problems": _problems(invalid)})
    except (RecursionError, UnicodeEncodeError):
        return (422, {"error": "nothing is changed, for this is nested too deeply, or has half of a character"})


def _in_force(written: Body, told: Body) -> Body:
    """After the reloader has read what was written."""
    status, outcome = written
    if told[0] != 200:
        text = "it is written, and not in force, for somebody else has changed the files meanwhile: mend them"
        return (409, {"error": text, **told[1]})
    return (status, {"done": True, "text": "the configuration is in force", **outcome})


def _rules(of: Collection, before: Any, after: Any) -> dict[str, dict[str, list[str]]]:
    """What changes in the allowlist, as a plan has it for the rest."""
    if of != "images":
        return {}
    old, new = editing.items(before, of), editing.items(after, of)
    return {
        "images": {
            "added": [name for name in new if name not in old],
            "changed": [name for name in new if name in old and old[name] != new[name]],
            "removed": [name for name in old if name not in new],
        }
    }


def _collection(edit: Edit) -> Collection:
    if edit.of == "keys":
        raise _Refused(404, "keys are in no file of the configuration")
    return edit.of


def _overtaken(file: str, tag: str | None) -> _Refused:
    text = f"{file} is not the one that was read: somebody else has changed it. Read it again, then change it"
    return _Refused(409, text, **({"tag": tag} if tag else {}))


def _unwritable(path: Path, failed: OSError) -> _Refused:
    reason = failed.strerror or "unknown reason"
    if isinstance(failed, PermissionError) or failed.errno in (errno.EROFS, errno.EBUSY):
        return _Refused(409, f"{path} cannot be written by the gateway ({reason}): {_READ_ONLY}")
    return _Refused(503, f"{path} could not be written: {reason}; the former one is there and in force")


def _against_policy(refused: RefusedByPolicy | CommandInvalid, path: str) -> _Refused:
    rule = refused.data.get("rule", refused.rule)
    problem = {"path": path, "text": logs.redact(refused.told), "rule": rule}
    return _Refused(422, f"nothing is changed, for the policy refuses it: rule {rule}", rule=rule, problems=[problem])


def _problems(invalid: ConfigInvalid) -> list[dict[str, str]]:
    return [{"path": path, "text": text} for path, text in invalid.problems]
