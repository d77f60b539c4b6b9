"""A client of MRP in plain http.client."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]
DRAWING = "from IPython.display import SVG, display; display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))"
"""A cell that displays a drawing."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


@dataclass(frozen=True)
class Event:
    """One Server-Sent Event."""

    id: int
    name: str
    data: Json


@dataclass(frozen=True)
class Client:
    """Speaks to the runtime on `port`."""

    port: int
    pid: int = 0
    """The server's pid, on its own machine."""

    @classmethod
    def of_record(cls, record: Json) -> "Client":
        """Return the client of the runtime that a registry record describes."""
        return cls(record["port"], record["pid"])

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """Return the status and the JSON of an answer."""
        content = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        answer = self.fetch(method, f"/mrp/v1{path}", content, **{**kind, **(headers or {})})
        return answer.status, json.loads(answer.body)

    def fetch(self, method: str, target: str, content: "str | bytes | None" = None, **headers: str) -> Answer:
        """Return the answer to any request; ``_`` stands for ``-`` in the names of headers."""
        connection = self.connect()
        try:
            connection.request(method, target, content, {name.replace("_", "-"): headers[name] for name in headers})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def answers(self) -> bool:
        """Return whether there is a server that answers."""
        try:
            return bool(self.fetch("GET", "/mrp/v1/capabilities"))
        except OSError:
            return False

    def is_busy(self, session: str = "default") -> bool:
        """Return whether a session runs something."""
        return bool(self.get(f"/sessions/{session}")["state"] == "busy")

    def get(self, path: str) -> Json:
        """GET, which must succeed."""
        status, body = self.request("GET", path)
        assert status == 200, body
        return body

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """POST, which must succeed."""
        status, answer = self.request("POST", path, {} if body is None else body)
        assert status == 200, answer
        return answer

    def execute(self, code: str, **fields: Any) -> Json:
        """Run code and return the ExecuteResult."""
        return self.post("/execute", {"code": code, **fields})

    def value(self, expression: str, **fields: Any) -> str:
        """Return the repr of an expression, which must succeed."""
        result = self.execute(expression, **fields)
        assert result["success"], result["error"]
        return str(result["result"])

    @contextmanager
    def streaming(self, code: str, **fields: Any) -> Iterator[Iterator[Event]]:
        """Run code; the value is an iterator over its events as they come."""
        body = json.dumps({"code": code, **fields})
        with self._events("POST", "/execute/stream", body, {"Content-Type": "application/json"}) as events:
            yield events

    def stream(self, code: str, **fields: Any) -> list[Event]:
        """Run code and return all its events."""
        with self.streaming(code, **fields) as events:
            return list(events)

    def converse(self, code: str, *answers: "str | None") -> list[Event]:
        """Run code, its own execId, and answer what it asks for in turn, None by cancelling; return all events."""
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
        """Come back to an execution, whose id is quoted; the value is an iterator over its events as they come."""
        with self._events("GET", f"/executions/{exec_id}/stream{query}", None, headers or {}) as events:
            yield events

    def follow(self, exec_id: str, query: str = "", headers: Mapping[str, str] | None = None) -> list[Event]:
        """Come back to an execution and return all its events."""
        with self.following(exec_id, query, headers) as events:
            return list(events)

    @contextmanager
    def _events(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> Iterator[Iterator[Event]]:
        connection = self.connect()
        connection.request(method, f"/mrp/v1{path}", body, dict(headers))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        try:
            yield _events(answer)
        finally:
            connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in answer:
        text = line.decode("ascii").rstrip("\n")
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


def text_of(events: list[Event], stream: str) -> str:
    """Return what the events say was written to a stream."""
    return "".join(event.data["content"] for event in events if event.name == stream)
