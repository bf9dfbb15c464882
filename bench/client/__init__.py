"""Light asyncio MCP clients for load generation, each transport behind the same three coroutines."""
