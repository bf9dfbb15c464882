"""What a tool says of itself to clients, as an operator may say it instead (MCP, tool annotations)."""

from __future__ import annotations

from metamcp.config.fields import Flag, Strict, Text


class AnnotationsSchema(Strict):
    title = Text(doc="A name for people.")
    read_only = Flag(data_key="readOnlyHint", attribute="readOnlyHint", doc="It changes nothing.")
    destructive = Flag(data_key="destructiveHint", attribute="destructiveHint", doc="It may destroy something.")
    idempotent = Flag(
        data_key="idempotentHint",
        attribute="idempotentHint",
        doc="A second call with the same arguments changes nothing more.",
    )
    open_world = Flag(
        data_key="openWorldHint",
        attribute="openWorldHint",
        doc="It reaches beyond a closed world, such as the web.",
    )
