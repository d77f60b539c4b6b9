"""The server's start: ``PYTHON -E .../mrmd_python/server OPTIONS``."""

import sys
from pathlib import Path

# This folder stood first: its modules are the package's, not top-level ones. The package's own folder goes last, for
# a run from a source tree that is not installed.
sys.path[:1] = []
sys.path.append(str(Path(__file__).resolve().parents[2]))

# It speaks no TLS: asyncio and aiohttp do without OpenSSL, and without making contexts of it at their import.
sys.modules["ssl"] = None  # type: ignore[assignment]

from mrmd_python.server.main import main  # noqa: E402

main(sys.argv[1:])
