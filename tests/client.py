"""An MRP client built on http.client, for any server that speaks MRP."""

import http.client
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

Json = dict[str, Any]
# A function that sends POST /execute to a session: takes the code and further fields.
Run = Callable[..., Json]
# A cell that displays an SVG image.
DRAWING = "from IPython.display import SVG, display; display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))"


class Answer(NamedTuple):
    """A complete response."""

    status: int
    # Names are in lower case.
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """Return the body; fails unless it is a JSON object with the JSON content type."""
        assert self.headers["content-type"].startswith("application/json"), self.headers
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Event:
    """One Server-Sent Event; `fields` has the names of its lines, in order."""

    id: int
    name: str
    data: Json
    fields: tuple[str, ...] = field(compare=False)


@dataclass(frozen=True)
class Client:
    """A client of the server at a base URL, such as http://localhost:8765/mrp/v1."""

    url: str
    # The server's pid, on the machine that it runs on.
    pid: int = 0

    @classmethod
    def at(cls, port: int, pid: int = 0) -> "Client":
        """Return a client of the runtime on a port."""
        return cls(f"http://127.0.0.1:{port}/mrp/v1", pid)

    @classmethod
    def of_record(cls, record: Json) -> "Client":
        """Return a client of the runtime that a registry record describes."""
        return cls.at(record["port"], record["pid"])

    @property
    def address(self) -> tuple[str, int]:
        """The server's host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "localhost", parts.port or 80

    @property
    def port(self) -> int:
        """The server's port."""
        return self.address[1]

    def path(self, path: str) -> str:
        """Return the path of an endpoint on the server."""
        return urlsplit(self.url).path.rstrip("/") + path

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection(*self.address, timeout=timeout)

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Answer:
        """Send a request to an endpoint and return the response; a body that is not bytes is sent as JSON."""
        sent: dict[str, str] = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        return self._answer(method, self.path(path), body, sent, timeout)

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """Send a request to an endpoint and return the status and the JSON of its response."""
        answer = self.call(method, path, body, headers)
        return answer.status, json.loads(answer.body)

    def fetch(self, method: str, target: str, content: "str | bytes | None" = None, **headers: str) -> Answer:
        """Send a request to any path of the server, not only below the base URL."""
        return self._answer(method, target, content, _named(headers), 60)

    def _answer(self, method: str, target: str, body: Any, headers: Mapping[str, str], timeout: float) -> Answer:
        connection = self.connect(timeout)
        try:
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def refused(self, status: int, method: str, path: str, body: object = None, **headers: str) -> Json:
        """Send a request that must fail with `status`, an error message and a code; return the JSON of the response."""
        answer = self.call(method, path, body, _named(headers))
        assert answer.status == status, answer
        refusal = answer.json()
        assert isinstance(refusal["error"], str)
        assert refusal["error"]
        assert refusal["code"] == refusal["code"].lower().replace(" ", "_")
        return refusal

    def answers(self) -> bool:
        """Return whether the server answers."""
        try:
            return bool(self.fetch("GET", "/mrp/v1/capabilities"))
        except OSError:
            return False

    def is_busy(self, session: str = "default") -> bool:
        """Return whether a session is executing code."""
        return bool(self.get(f"/sessions/{session}")["state"] == "busy")

    def get(self, path: str) -> Json:
        """Send a GET request that must succeed; return the JSON of the response."""
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.json()

    def post(self, path: str, body: Mapping[str, object] | None = None, timeout: float = 60) -> Json:
        """Send a POST request that must succeed; return the JSON of the response."""
        answer = self.call("POST", path, {} if body is None else body, timeout=timeout)
        assert answer.status == 200, answer
        return answer.json()

    def execute(self, code: str, **fields: Any) -> Json:
        """Run code and return the ExecuteResult."""
        return self.post("/execute", {"code": code, **fields})

    def value(self, expression: str, **fields: Any) -> str:
        """Evaluate an expression, which must succeed, and return its repr."""
        result = self.execute(expression, **fields)
        assert result["success"], result["error"]
        return str(result["result"])

    @contextmanager
    def streaming(self, code: str, **fields: Any) -> Iterator[Iterator[Event]]:
        """Run code; yields an iterator over its events as they arrive."""
        body = json.dumps({"code": code, **fields})
        with self._events("POST", "/execute/stream", body, {"Content-Type": "application/json"}) as events:
            yield events

    def stream(self, code: str, **fields: Any) -> list[Event]:
        """Run code and return all its events."""
        with self.streaming(code, **fields) as events:
            return list(events)

    def converse(self, code: str, *answers: "str | None") -> list[Event]:
        """Run code, with itself as execId, and answer its input requests in turn (None cancels); return all events."""
        pending = list(answers)
        events = []
        with self.streaming(code, execId=code) as stream:
            for event in stream:
                events.append(event)
                if event.name == "stdin_request":
                    answer = pending.pop(0)
                    if answer is None:
                        assert self.post("/input/cancel", {"exec_id": code}) == {"cancelled": True}
                    else:
                        assert self.post("/input", {"exec_id": code, "text": answer}) == {"accepted": True}
        assert pending == []
        return events

    @contextmanager
    def following(
        self, exec_id: str, query: str = "", headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[Event]]:
        """Attach to an execution by its percent-encoded id; yields an iterator over its events as they arrive."""
        with self._events("GET", f"/executions/{exec_id}/stream{query}", None, headers or {}) as events:
            yield events

    def follow(self, exec_id: str, query: str = "", headers: Mapping[str, str] | None = None) -> list[Event]:
        """Attach to an execution and return all its events."""
        with self.following(exec_id, query, headers) as events:
            return list(events)

    @contextmanager
    def watching(
        self, session: str, query: str = "", headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[Event]]:
        """Watch a session by its percent-encoded id; yields an iterator over what happens in it."""
        with self._events("GET", f"/sessions/{session}/events{query}", None, headers or {}) as events:
            yield events

    @contextmanager
    def _events(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> Iterator[Iterator[Event]]:
        connection = self.connect()
        try:
            connection.request(method, self.path(path), body, dict(headers))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            assert (answer.getheader("Content-Type") or "").startswith("text/event-stream")
            yield _events(answer)
        finally:
            connection.close()


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    """Return keyword arguments as headers, with ``-`` in place of ``_``."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _events(stream: Iterable[bytes]) -> Iterator[Event]:
    lines: list[tuple[str, str]] = []
    for raw in stream:
        line = raw.decode("ascii").removesuffix("\n")
        assert "\r" not in line
        if line.startswith(":"):
            continue
        if line:
            name, separator, value = line.partition(": ")
            assert separator, line
            lines.append((name, value))
        elif lines:
            fields = dict(lines)
            assert fields["id"].isdigit()
            yield Event(
                int(fields["id"]), fields["event"], json.loads(fields["data"]), tuple(name for name, _ in lines)
            )
            lines = []
    assert lines == [], f"the stream ends within an event: {lines}"


def complete_events(content: bytes) -> list[Event]:
    """Return the events in a part of a stream, without one that is cut off at its end."""
    complete, end, _ = content.rpartition(b"\n\n")
    return list(_events((complete + end).splitlines(keepends=True)))


def text_of(events: list[Event], stream: str) -> str:
    """Return the text that the events report for a stream."""
    return "".join(event.data["content"] for event in events if event.name == stream)


def names_of(events: list[Event]) -> list[str]:
    """Return the names of the events, with adjacent duplicates merged: the server may split output anywhere."""
    names = [event.name for event in events]
    return [name for position, name in enumerate(names) if position == 0 or names[position - 1] != name]
