"""The MRP server and its sessions. It runs no user code and imports no user packages."""
