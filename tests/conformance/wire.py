"""MRP as a client sees it, by http.client alone: nothing here knows which server answers."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
Run = Callable[..., Json]
"""POST /execute in the test's session, with code and fields; see the fixture `run`."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Json:
        """Return the body, which must be a JSON object and said to be."""
        assert self.headers["content-type"].startswith("application/json"), self.headers
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Event:
    """One Server-Sent Event; `fields` are the names of its lines in their order."""

    id: str
    name: str
    data: Json
    fields: tuple[str, ...] = field(compare=False)


@dataclass(frozen=True)
class Server:
    """A server, by its base URL."""

    url: str

    @property
    def address(self) -> tuple[str, int]:
        """Its host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "localhost", parts.port or 80

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection(*self.address, timeout=timeout)

    def path(self, path: str) -> str:
        """Return the path of an endpoint on the server."""
        return urlsplit(self.url).path.rstrip("/") + path

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Answer:
        """Return the answer to a request, whose body is bytes or is sent as JSON."""
        sent: dict[str, str] = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect(timeout)
        try:
            connection.request(method, self.path(path), body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Json:
        """GET, which must succeed."""
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.json()

    def post(self, path: str, body: Mapping[str, object] | None = None, timeout: float = 60) -> Json:
        """POST, which must succeed."""
        answer = self.call("POST", path, {} if body is None else body, timeout=timeout)
        assert answer.status == 200, answer
        return answer.json()

    def refused(self, status: int, method: str, path: str, body: object = None, **headers: str) -> Json:
        """Return the JSON of a refusal, which must have that status, a sentence and a code."""
        answer = self.call(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        assert answer.status == status, answer
        refusal = answer.json()
        assert isinstance(refusal["error"], str)
        assert refusal["error"]
        assert refusal["code"] == refusal["code"].lower().replace(" ", "_")
        return refusal

    @contextmanager
    def streaming(self, code: str, **fields: object) -> Iterator[Iterator[Event]]:
        """POST /execute/stream; the value is an iterator over the events as they come."""
        body = json.dumps({"code": code, **fields})
        with self._events("POST", "/execute/stream", body, {"Content-Type": "application/json"}) as events:
            yield events

    def stream(self, code: str, **fields: object) -> list[Event]:
        """POST /execute/stream; return all events."""
        with self.streaming(code, **fields) as events:
            return list(events)

    def follow(self, exec_id: str, query: str = "", **headers: str) -> list[Event]:
        """GET /executions/{execId}/stream; return all events."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self._events("GET", f"/executions/{exec_id}/stream{query}", None, named) as events:
            return list(events)

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


def _events(answer: http.client.HTTPResponse) -> Iterator[Event]:
    lines: list[tuple[str, str]] = []
    for raw in answer:
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
            yield Event(fields["id"], fields["event"], json.loads(fields["data"]), tuple(name for name, _ in lines))
            lines = []
    assert lines == [], "the stream ends between two events"


def text_of(events: list[Event], stream: str) -> str:
    """Return what the events say was written to a stream."""
    return "".join(event.data["content"] for event in events if event.name == stream)


def names_of(events: list[Event]) -> list[str]:
    """Return the names of the events, neighbours of one name as one: how output is cut is the server's affair."""
    names = [event.name for event in events]
    return [name for position, name in enumerate(names) if position == 0 or names[position - 1] != name]
