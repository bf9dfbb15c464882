"""What stands at the other end: the MCP server behind a gateway, its image, and a gateway that does nothing."""
