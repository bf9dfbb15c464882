"""``call-log``: a line of the gateway's log for each call, with the names of its arguments and no value."""

from __future__ import annotations

import re
import time

from metamcp.gateway.middleware.interface import Answer, Call, Context, Middleware
from metamcp.telemetry import logs

_MOST_NAMES = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NAMED = frozenset({"tools/call", "prompts/get"})  # an address may hold anything
_OTHER = "(other)"

_log = logs.get("gateway.middleware.call_log")


class CallLog(Middleware):
    def on_call(self, call: Call, context: Context) -> None:
        call.notes[self] = time.monotonic()

    def on_result(self, call: Call, answer: Answer, context: Context) -> None:
        self._tell(call, context, "result", len(answer.raw))

    def on_error(self, call: Call, answer: Answer, context: Context) -> None:
        self._tell(call, context, "error", None)

    def _tell(self, call: Call, context: Context, outcome: str, size: int | None) -> None:
        names = [name if _NAME.fullmatch(name) else _OTHER for name in call.argument_names]
        shown = [*names[:_MOST_NAMES], *([f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else [])]
        fields = logs.fields(
            namespace=context.namespace, endpoint=context.endpoint, principal=context.principal, method=call.method,
            server=call.server, tool=call.name if call.method in _NAMED else None, arguments=",".join(shown),
            outcome=outcome, bytes=size, seconds=round(time.monotonic() - call.notes[self], 4),
        )  # fmt: skip
        _log.info("middleware-call", extra=fields)
