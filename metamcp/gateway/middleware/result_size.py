"""``result-size``: a result that is larger than what a client should have to read is not passed on."""

from __future__ import annotations

from metamcp.gateway.middleware.interface import Answer, Call, Context, Middleware, Refusal


class ResultSize(Middleware):
    def on_result(self, call: Call, answer: Answer, context: Context) -> None:
        most, size = int(self.options["bytes"]), len(answer.raw)
        if size <= most:
            return
        text = f"the result has {size} bytes, and {most} is the limit here: ask for less"
        if call.method != "tools/call":
            raise Refusal(text)
        # As an error of the tool, so that the model reads it (Tools, Error Handling).
        answer.members = {"content": [{"type": "text", "text": text}], "isError": True}
