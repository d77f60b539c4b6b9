"""Start an engine in a runtime, kill the runtime, and show that its workers are gone: python memory_comes_back.py."""

import json
import os
import subprocess
from pathlib import Path

from client import Client

ID = "engine-example"
COMMAND = "mrmd-python"


def main() -> None:
    """Start the engine, list it, kill it, and show that its workers are gone."""
    here = str(Path(__file__).parent)
    started = subprocess.run([COMMAND, "--id", ID, "--cwd", here, "--json"], stdout=subprocess.PIPE, check=True)
    client = Client(json.loads(started.stdout)["url"])
    made = client.post("/execute", code="from engine import Engine; engine = Engine(2, 200); print(*engine.pids)")
    pids = [int(word) for word in made["stdout"].split()]
    apart = [pid for pid in pids if os.getsid(pid) == pid]
    print(f"{len(apart)} workers in their own process sessions: {pids}", flush=True)
    subprocess.run([COMMAND, "--list"], check=True)
    subprocess.run([COMMAND, "--kill", ID], check=True)
    left = [pid for pid in pids if _exists(pid)]
    print(f"{len(left)} of the workers are left.", flush=True)
    subprocess.run([COMMAND, "--list"], check=True)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
