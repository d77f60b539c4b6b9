"""Serves our application by uvicorn on a free port, which is printed once it listens."""

import socket

import uvicorn

from mrmd_python import create_app

with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(create_app(daemon_mode=True), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])
