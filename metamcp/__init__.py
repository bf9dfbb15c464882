"""MetaMCP: an MCP gateway for servers that live in Docker containers."""

__version__ = "0.1.0"
