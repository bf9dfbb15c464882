"""Which keywords of JSON Schema 2020-12, and of the drafts before it, hold schemas (Core, 10; Validation).

``default``, ``const``, ``enum`` and ``examples`` hold data, in which a keyword's name means nothing.
"""

from __future__ import annotations

ONE = frozenset(
    {"items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames", "unevaluatedProperties"}
) | {"not", "if", "then", "else", "contentSchema"}
"""One schema."""

LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""An array of schemas."""

MAP = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})
"""An object of schemas, besides ``properties``."""
