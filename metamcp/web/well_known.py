"""``/.well-known/oauth-protected-resource/…``: who issues tokens for an endpoint (RFC 9728, 3; MCP, Authorization).

Open to all: whoever has no token yet has to read it. Endpoints without OAuth look as if they were not there.
"""

from __future__ import annotations

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from metamcp.protocol import jsonrpc
from metamcp.protocol.http_rules import JSON
from metamcp.web import resource
from metamcp.web.present import incoming

blueprint = Blueprint("well_known", __name__)
_KIND = f"<any({','.join(resource.KINDS)}):kind>"


@blueprint.get(f"{resource.WELL_KNOWN}/metamcp/<endpoint>/{_KIND}", strict_slashes=False)
@blueprint.get(f"/metamcp/<endpoint>/{_KIND}{resource.WELL_KNOWN}")
@blueprint.get(f"{resource.WELL_KNOWN}/{_KIND}", strict_slashes=False, defaults={"endpoint": "default"})
@blueprint.get(f"/{_KIND}{resource.WELL_KNOWN}", defaults={"endpoint": "default"})
@blueprint.get(resource.WELL_KNOWN, strict_slashes=False, defaults={"endpoint": "default", "kind": "mcp"})
def metadata(endpoint: str, kind: str) -> Response:
    """Of one endpoint. Clients look for it with the well-known part before the path (RFC 9728, 3.1), behind it, or
    without any path."""
    asked = incoming()
    door = asked.state.doors.policy().endpoints.get(endpoint)
    if door is None or door.trust is None:
        raise NotFound("there is no resource here that takes tokens of OAuth")
    short = "/metamcp/" not in asked.path
    document = {
        "resource": resource.base_url(asked) + resource.path_of(endpoint, kind, short),
        "authorization_servers": [door.trust.issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": f"MetaMCP: {endpoint}",
    }
    if door.trust.scopes:
        document["scopes_supported"] = list(door.trust.scopes)
    return Response(jsonrpc.encode(document), mimetype=JSON)
