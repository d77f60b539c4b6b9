"""MRP in a program of one's own, under uvicorn: python embed_uvicorn.py 8765.

Its runtime is a child of this program and ends with it.
"""

import sys

import uvicorn

from mrmd_python import create_app

app = create_app(daemon_mode=True)

if __name__ == "__main__":
    # Without a limit, a server that stops would wait for running cells, whose clients are connected.
    uvicorn.run(app, host="localhost", port=int(sys.argv[1]), timeout_graceful_shutdown=3)
