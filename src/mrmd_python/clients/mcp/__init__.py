"""The MCP server: tools with which agents use runtimes. https://modelcontextprotocol.io describes MCP."""
