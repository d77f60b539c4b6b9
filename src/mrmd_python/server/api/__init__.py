"""MRP's endpoints: aiohttp handlers, and the struct that reads and describes each request."""
