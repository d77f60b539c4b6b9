"""The MRP client, and what is built on it: programs that use a runtime. Nothing here knows how a runtime is kept."""
