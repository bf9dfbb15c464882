"""``time-budget``: how long a call may take from the client's request to its answer."""

from __future__ import annotations

from metamcp.gateway.middleware.interface import Call, Context, Middleware


class TimeBudget(Middleware):
    def on_call(self, call: Call, context: Context) -> None:
        call.limit(self.options["seconds"])
