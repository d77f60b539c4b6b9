"""A client that needs only Python: python client.py http://localhost:8765/mrp/v1 'print(input("Name? "))'."""

import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen


class Client:
    """A client of one runtime."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, **body: Any) -> Any:
        """Return the response of an endpoint."""
        return json.load(self._send(path, body))

    def stream(self, code: str, **fields: Any) -> Iterator[tuple[str, Any]]:
        """Run code; yield the name and the data of each event as it arrives."""
        name = ""
        for line in self._send("/execute/stream", {"code": code, "accumulated": False, **fields}):
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)

    def _send(self, path: str, body: dict[str, Any]) -> Any:
        return urlopen(Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}))


if __name__ == "__main__":
    client = Client(sys.argv[1])
    for event, data in client.stream(sys.argv[2]):
        if event in ("stdout", "stderr"):
            print(data["content"], end="", flush=True, file=getattr(sys, event))
        elif event == "stdin_request":
            client.post("/input", execId=data["execId"], text=input())  # the prompt is in stdout
