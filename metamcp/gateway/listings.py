"""What servers list: tools, prompts, resources and resource templates, kept as the bytes they came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metamcp.errors import InvalidParams
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing that servers list (MCP, Server Features)."""

    name: str
    method: str
    member: str  # of the result
    identity: str  # of an item
    capability: str


TOOLS = Kind("tools", "tools/list", "tools", "name", "tools")
PROMPTS = Kind("prompts", "prompts/list", "prompts", "name", "prompts")
RESOURCES = Kind("resources", "resources/list", "resources", "uri", "resources")
TEMPLATES = Kind("templates", "resources/templates/list", "resourceTemplates", "uriTemplate", "resources")
KINDS = (TOOLS, PROMPTS, RESOURCES, TEMPLATES)


@dataclass(frozen=True, slots=True)
class Item:
    """One listed thing; ``body`` holds its members raw, in the server's order."""

    identity: str
    body: JsonObject


@dataclass(frozen=True, slots=True)
class Entry:
    """All that one server has. ``capabilities`` and ``instructions`` are of its InitializeResult."""

    server: str
    capabilities: JsonObject
    instructions: str
    items: Mapping[str, tuple[Item, ...]]  # by the kind's name

    @property
    def subscribes(self) -> bool:
        """Its resources can be subscribed (Resources, Capabilities)."""
        try:
            declared = jsonrpc.decode_object(self.capabilities.get("resources", b""), "resources")
        except InvalidParams:
            return False
        return bytes(declared.get("subscribe", b"")) == b"true"
