"""Measures how many bytes a stream sends for each byte that a cell prints.

    python benchmarks/streaming_cost.py

Starts a runtime, prints a table, and ends the runtime. The bytes are those of the response's body on the socket, with
the framing of HTTP chunks.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

_LINE = 80
_FAST = "for n in range({lines}): print('x' * 79)"
_PACED = "import time\nfor n in range({lines}): print('x' * 79); time.sleep(0.002)"
_MIXED = """
import sys
from IPython.display import display
for n in range({lines} // 2):
    print('x' * 79); print('y' * 79, file=sys.stderr)
    if n % 10 == 0: display({{'x/n': 'z'}}, raw=True)
"""
_CASES = [
    *[(f"{lines:>7,} lines at once", _FAST, lines) for lines in (1_000, 10_000, 50_000, 200_000)],
    ("  1,000 lines, 2 ms apart", _PACED, 1_000),
    (" 10,000 lines on both streams, with displays", _MIXED, 10_000),
]


def main() -> None:
    """Print the table."""
    print(f"{'':46} {'printed':>12} {'accumulated':>12} {'without':>9} {'seconds':>8}")
    with _runtime() as port:
        for name, code, lines in _CASES:
            started = time.perf_counter()
            costs = [_wire_bytes(port, code.format(lines=lines), on) / (lines * _LINE) for on in (True, False)]
            seconds = time.perf_counter() - started
            print(f"{name:46} {lines * _LINE:>12,} {costs[0]:>12.2f} {costs[1]:>9.2f} {seconds:>8.1f}")


@contextmanager
def _runtime() -> Iterator[int]:
    command = [str(Path(sys.executable).parent / "mrmd-python")]
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "MRMD_HOME": home, "MRMD_BACKEND": "fork"}
        started = subprocess.run([*command, "--id", "cost", "--json"], env=env, check=True, stdout=subprocess.PIPE)
        try:
            yield urlsplit(json.loads(started.stdout)["url"]).port or 0
        finally:
            subprocess.run([*command, "--kill", "cost"], env=env, check=True, stdout=subprocess.DEVNULL)


def _wire_bytes(port: int, code: str, accumulated: bool) -> int:
    body = json.dumps({"code": code, "accumulated": accumulated}).encode()
    head = (
        f"POST /mrp/v1/execute/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        received = bytearray()
        while piece := connection.recv(1 << 20):
            received += piece
    assert received.startswith(b"HTTP/1.1 200"), received[:500]
    return len(received) - received.index(b"\r\n\r\n") - 4


if __name__ == "__main__":
    main()
