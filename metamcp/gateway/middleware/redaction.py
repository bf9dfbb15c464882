"""``redact``: secrets in results, errors and messages of servers, by pattern and by value.

Every text of the JSON is looked at, names of members, too; whatever has nothing to hide keeps its bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from metamcp.config.secrets import resolve
from metamcp.gateway.middleware.interface import Answer, Call, Context, Message, Middleware, Refusal
from metamcp.protocol import jsonrpc
from metamcp.telemetry import logs
from metamcp.telemetry.logs import Redactor

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_METHODS = frozenset({
    "notifications/progress", "notifications/message", "notifications/resources/updated",
    "notifications/elicitation/complete", "sampling/createMessage", "elicitation/create", "roots/list",
})  # fmt: skip
"""Named by MCP, so no secret, whatever a pattern fits. Any other one is the server's own text."""
_SHORTEST = 4  # characters of a value: shorter ones occur in ordinary words


class Redact(Middleware):
    def __init__(self, options: Mapping[str, Any]) -> None:
        """Raises SecretMissing for a variable that is not set, ValueError for one that is too short."""
        super().__init__(options)
        values = [resolve(text, os.environ, _no_file) for text in options["values"]]
        if any(len(value) < _SHORTEST for value in values):
            raise ValueError("a value is too short to be masked")
        self._replacement: str = options["replacement"]
        self._values = Redactor(self._replacement)
        self._values.add(values)
        self._known: bool = options["known"]
        self._patterns = [re.compile(pattern) for pattern in options["patterns"]]

    def on_result(self, call: Call, answer: Answer, context: Context) -> None:
        if len(answer.raw) > self.options["bytes"]:
            raise Refusal(f"the result has {len(answer.raw)} bytes, too many to look through: ask for less")
        answer.raw = self._mask(answer.raw)

    def on_error(self, call: Call, answer: Answer, context: Context) -> None:
        answer.raw = self._mask(answer.raw)

    def on_message(self, message: Message, context: Context) -> None:
        """A method would mean nothing any more once it is masked, so nothing is passed on under such a name."""
        if len(message.raw) > self.options["bytes"]:
            raise Refusal(f"{message.method} has {len(message.raw)} bytes, too many to look through")
        if message.method not in _METHODS and self._hidden(message.method) != message.method:
            raise Refusal("the name of its method has to be hidden")
        message.raw = self._mask(message.raw)

    def _mask(self, raw: bytes) -> bytes:
        return _STRING.sub(self._masked, raw)

    def _masked(self, found: re.Match[bytes]) -> bytes:
        spelled = found[0]
        text = json.loads(spelled) if b"\\" in spelled else spelled[1:-1].decode("utf-8", "surrogatepass")
        masked = self._hidden(text)
        return spelled if masked == text else jsonrpc.encode(masked)

    def _hidden(self, text: str) -> str:
        masked = self._values(text)
        if self._known:
            masked = logs.redact(masked)
        for pattern in self._patterns:
            masked = pattern.sub(self._instead, masked)
        return masked

    def _instead(self, _found: re.Match[str]) -> str:
        """A function, for in a text ``\\1`` would mean something."""
        return self._replacement


def _no_file(_path: str) -> NoReturn:
    raise ValueError("files are not read here")
