"""Streamable HTTP: one URL; a session that is opened by ``initialize``, and requests of 2026-07-28 without one.

MCP 2025-11-25, Transports: Streamable HTTP; 2026-07-28, likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from metamcp.errors import InvalidParams, MetaMCPError, ServerMisbehaved
from metamcp.protocol import jsonrpc
from metamcp.telemetry import logs
from metamcp.upstream.remote import message
from metamcp.upstream.remote.exchange import Ask, Head, Over
from metamcp.upstream.remote.faults import names_an_era, reason_of
from metamcp.upstream.remote.listening import Listening
from metamcp.upstream.remote.message import Outgoing, of_session
from metamcp.upstream.remote.mirrors import Mirrors, Relisting, refused_for_its_headers
from metamcp.upstream.remote.pending import Pending
from metamcp.upstream.remote.transport import WORD_SECONDS, Speaker, Word, note

_CANCELLED_SECONDS = 5.0
"""How long a cancelled request may stay open: the server normally ends its stream, but need not."""

_AGAIN = b'"metamcp-session-%d"'  # the id of an initialize of our own; those of the conversation are integers
_INITIALIZED = "notifications/initialized"
_log = logs.get("upstream.remote")


class Streamable:
    """Owned by the reactor's thread. While a session is being opened, its messages wait in ``_held``."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self._hello: Outgoing | None = None
        self._session = ""
        self._version = ""
        self._open = False
        self._renewals = 0
        self._held: list[Outgoing | Pending] = []
        self._pending: dict[bytes, Pending] = {}
        self._mirrors = Mirrors()
        self._listening = Listening(speaker, self.reading, lambda: self._renew())

    def send(self, out: Outgoing) -> None:
        if out.method == "notifications/cancelled":
            self._cancel(out)
        elif out.kind == "request":
            self._request(out)
        elif out.method == _INITIALIZED:
            self._confirm(out)
        elif out.kind == "notification" and not (self._open or out.version):
            self._held.append(out)
        else:
            self._word(out)

    def farewell(self) -> Ask | None:
        """The session is over (Session Management); a server may not support that."""
        self._listening.stop()
        if not self._session:
            return None
        return Ask("DELETE", self.speaker.url, of_session(self._session, self._version), WORD_SECONDS)

    # --- for requests ------------------------------------------------------------------------------------

    def headers(self, out: Outgoing) -> dict[str, str | bytes]:
        if out.method == "initialize":
            return message.headers(out, "", "")
        return message.headers(out, self._session, self._version) | self._mirrors.headers(out)

    def reading(self, last_id: str = "") -> dict[str, str | bytes]:
        """Headers of a GET."""
        resumed: dict[str, str | bytes] = {"Last-Event-ID": last_id.encode()} if last_id else {}
        return of_session(self._session, self._version) | resumed

    def met(self, head: Head, out: Outgoing) -> None:
        if out.method == "initialize" and head.status == 200:
            # Visible ASCII (Session Management); anything else could not be sent back.
            valid = head.session.isascii() and head.session.isprintable() and " " not in head.session
            self._session = head.session if valid else ""

    def lost(self, pending: Pending) -> bool:
        """Once per request: a server that does not know the session that it has just opened will not learn it."""
        if not pending.session or pending.repeated or pending.out.version:
            return False
        pending.repeated = True
        if pending.session != self._session and self._open:
            self._begin(pending)  # another request has met that before
        else:
            self._held.append(pending)
            self._renew()
        return True

    # --- sending -----------------------------------------------------------------------------------------

    def _request(self, out: Outgoing) -> None:
        pending = self._new(out)
        if out.method == "initialize":
            self._hello = out
        if self._open or out.version or out.method == "initialize":
            self._begin(pending)
        else:
            self._held.append(pending)

    def _new(self, out: Outgoing) -> Pending:
        answered, failed = self._answered, self._failed
        pending = Pending(self, out, lambda line: answered(out, line), lambda error: failed(out, error))
        self._pending[out.key] = pending
        return pending

    def _begin(self, pending: Pending) -> None:
        pending.session = self._session
        pending.begin()

    def _answered(self, out: Outgoing, line: bytes) -> None:
        if refused_for_its_headers(out, line) and self._mended(out, line):
            return
        self._pending.pop(out.key, None)
        if out.method == "initialize":
            self._version = _negotiated(line)
        elif out.method == "tools/list" and out.version:
            with suppress(InvalidParams):
                self._mirrors.learn(line)
        self.speaker.deliver(line)

    def _mended(self, out: Outgoing, line: bytes) -> bool:
        """The tool's schema is another one than we know: list the tools, and send the call once more."""
        pending = self._pending.get(out.key)
        if pending is None or pending.repeated:
            return False

        def listed(well: bool) -> None:
            if self._pending.get(out.key) is not pending:
                return  # cancelled meanwhile
            if well:
                again = self._new(out)
                again.repeated = True
                self._begin(again)
            else:
                self._pending.pop(out.key)
                self.speaker.deliver(line)

        Relisting(self, self._mirrors, out, listed)
        return True

    def _failed(self, out: Outgoing, error: MetaMCPError) -> None:
        self._pending.pop(out.key, None)
        if out.method == "initialize" or (out.method == "server/discover" and not names_an_era(error)):
            self.speaker.die(error)
        else:
            self.speaker.refuse(out.id, error)

    def _word(self, out: Outgoing) -> None:
        self._post(out, lambda over: note(self.speaker, out, over))

    def _post(self, out: Outgoing, done: Callable[[Over], None]) -> None:
        Word(self.speaker, Ask("POST", self.speaker.url, self.headers(out), WORD_SECONDS, out.body), done)

    def _cancel(self, out: Outgoing) -> None:
        """Of a stateless request, closing its POST is the cancellation; a session's is told (Cancellation)."""
        pending = self._pending.pop(out.cancels, None)
        if pending is None:
            return
        if pending in self._held:
            self._held.remove(pending)
        elif pending.out.version:
            pending.drop()
        else:
            self._word(out)
            self.speaker.later(_CANCELLED_SECONDS, pending.drop)

    # --- the session -------------------------------------------------------------------------------------

    def _confirm(self, out: Outgoing) -> None:
        """Requests follow when the server has taken ``initialized``: two POSTs may overtake each other."""

        def done(over: Over) -> None:
            note(self.speaker, out, over)
            self._open = True
            self._listening.start()  # before the calls: what they make the server say may come there
            held, self._held = self._held, []
            for waiting in held:
                if isinstance(waiting, Pending):
                    self._begin(waiting)
                else:
                    self._word(waiting)

        self._post(out, done)

    def _renew(self) -> None:
        """The server has forgotten the session (404): open another one, as a client would (Session Management)."""
        if not self._open or self._hello is None:
            return
        self._open = False
        self._renewals += 1
        self._listening.stop()
        _log.warning("session-lost", extra=logs.fields(server=self.speaker.server))
        identifier = _AGAIN % self._renewals
        hello = message.read(jsonrpc.request(identifier, "initialize", self._hello.params))
        Pending(self, hello, self._renewed, self._not_renewed).begin()

    def _renewed(self, line: bytes) -> None:
        self._version = _negotiated(line)
        if self._version:
            self._confirm(message.read(jsonrpc.notification(_INITIALIZED, b"")))
        else:
            self._not_renewed(ServerMisbehaved("its answer to initialize is not valid"))

    def _not_renewed(self, error: MetaMCPError) -> None:
        name, reason = self.speaker.server, f"its session ended and cannot be opened again: {reason_of(error)}"
        self.speaker.die(type(error)(f"server {name!r}: {reason}", **{**error.data, "server": name, "reason": reason}))


def _negotiated(line: bytes) -> str:
    """The version of an InitializeResult; empty when ``line`` is none."""
    try:
        result = jsonrpc.decode_object(jsonrpc.parse(line).result, "the result")
        return jsonrpc.decode_string(result.get("protocolVersion"), "protocolVersion")
    except MetaMCPError:
        return ""
