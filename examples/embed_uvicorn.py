"""Serve MRP from your own program with uvicorn: python embed_uvicorn.py 8765.

Its runtime is a child of this program and ends with it.
"""

import sys

import uvicorn

from mrmd_python import create_app

app = create_app(daemon_mode=True)

if __name__ == "__main__":
    # Without a limit, shutdown would wait until running cells end and their clients disconnect.
    uvicorn.run(app, host="localhost", port=int(sys.argv[1]), timeout_graceful_shutdown=3)
