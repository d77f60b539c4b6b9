"""A JavaScript client, whose HTTP, chunks and string positions differ from Python's."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.client import Client

_CLIENT = Path(__file__).parent / "client.mjs"


@pytest.mark.row("execute/stream, /input, /interrupt, reattach, and /complete with UTF-16 positions, from JavaScript")
def test_node_client_works(server: Client, session: str) -> None:
    node = shutil.which("node")
    assert node is not None, "this test needs Node 18 or newer: apt-get install nodejs"
    done = subprocess.run([node, _CLIENT, server.url, session], capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "text": "é€😀" * 1000 + "\n",
        "accumulated": "é€😀" * 1000 + "\n",
        "accepted": {"accepted": True},
        "talk": "Name? Ada\nadA\n",
        "interrupted": {"interrupted": True},
        "interruption": "KeyboardInterrupt",
        "reattached": "".join(f"é {n}\n" for n in range(30)),
        "end": "done",
        "completed": "'😀'; print",
    }
