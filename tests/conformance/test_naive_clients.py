"""Clients without an SSE library, disconnected at any byte, stalled, or many at a time."""

import http.client
import json
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from tests.client import Client, Event, Json, complete_events, text_of

_CODE = """
import sys, time
from IPython.display import display
for n in range({count}):
    print("out é€😀\\u2028\\r\\x1b[31m", n, end="\\n" * (n % 3))
    print("err", n, file=sys.stderr)
    if n % 5 == 0: display({{"x/n": f"é {{n}}"}}, raw=True)
    time.sleep({pause})
"""


@contextmanager
def _relay(server: Client, seed: int) -> Iterator[int]:
    """Run a TCP relay to the server that re-splits the response at random bytes; yields its port."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def pump(source: socket.socket, target: socket.socket, choice: random.Random | None) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                while data:
                    length = len(data) if choice is None else choice.choice((1, 2, 3, 7, 50, 1000))
                    target.sendall(data[:length])
                    data = data[length:]
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def relay(client: socket.socket, number: int) -> None:
        with client, socket.create_connection(server.address) as upstream:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(upstream, client, random.Random(f"{seed} {number}")))
            back.start()
            pump(client, upstream, None)
            back.join()

    def accept() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                client, _ = listener.accept()
                client.settimeout(30)
                threads.append(threading.Thread(target=relay, args=(client, len(threads))))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            for thread in (accepting, *threads):
                thread.join()


def _naive_events(answer: http.client.HTTPResponse, choice: random.Random) -> Iterator[tuple[str, Json]]:
    """Parse events as a simple client does: decode each chunk on its own, split at "\\n", know two prefixes."""
    buffer, name = "", ""
    while piece := answer.read1(choice.choice((1, 2, 5, 100, 5000))):
        buffer += piece.decode("ascii")
        *lines, buffer = buffer.split("\n")
        for line in lines:
            if line.startswith("event: "):
                name = line[7:].strip()
            elif line.startswith("data: ") and name:
                yield name, json.loads(line[6:])
                name = ""


@pytest.mark.row("JSON in SSE data: is ASCII: one client decodes each network chunk by itself")
def test_stream_can_be_parsed_when_chunks_are_cut_anywhere(server: Client, session: str) -> None:
    exec_id = f"{session}-cut"
    whole = server.stream(_CODE.format(count=40, pause=0.001), session=session, execId=exec_id)
    texts = {name: text_of(whole, name) for name in ("stdout", "stderr")}
    choice = random.Random(7)
    with _relay(server, seed=7) as port:
        for _ in range(60):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", server.path(f"/executions/{exec_id}/stream"), headers={"Host": "localhost"})
            events = list(_naive_events(connection.getresponse(), choice))
            connection.close()
            for name, text in texts.items():
                assert "".join(data["content"] for found, data in events if found == name) == text
                assert [data["accumulated"] for found, data in events if found == name][-1] == text
            others = [(event.name, event.data) for event in whole if event.name not in texts]
            assert [event for event in events if event[0] not in texts] == others


class _DisconnectingClient:
    """A client that disconnects at a random byte, and keeps only the events that it received in full."""

    def __init__(self, server: Client, exec_id: str, seed: int) -> None:
        self._server = server
        self._exec_id = exec_id
        self._choice = random.Random(seed)
        self._max_read = 6000
        self.events: list[Event] = []
        self.disconnects = 0

    @property
    def is_done(self) -> bool:
        return bool(self.events) and self.events[-1].name == "done"

    def read_part(self) -> None:
        """Connect, read a random number of bytes, and disconnect."""
        connection = self._server.connect()
        connection.connect()
        headers = {"Last-Event-ID": str(self.events[-1].id)} if self.events else {}
        path = self._server.path(f"/executions/{self._exec_id}/stream?accumulated=false")
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        left = self._choice.randrange(self._max_read)
        received = b""
        while left and (piece := answer.read1(left)):
            received += piece
            left -= len(piece)
        connection.close()
        before = len(self.events)
        self.events += complete_events(received)
        if not self.is_done:
            self.disconnects += 1
            if len(self.events) == before and left == 0:
                self._max_read = min(2 * self._max_read, 2**20)  # one event may be longer than this
            else:
                self._max_read = 6000


@pytest.mark.row(
    "GET /executions/{execId}/stream: a client that is disconnected 200 times gets the same bytes as one that is not"
)
def test_client_disconnected_at_any_byte_gets_the_whole_stream(server: Client, session: str) -> None:
    exec_id = f"{session}-disconnecting"
    code = _CODE.format(count=2500, pause=0.0005)
    with ThreadPoolExecutor() as pool, server.streaming(code, session=session, execId=exec_id) as undisturbed:
        first = next(undisturbed)
        rest = pool.submit(list, undisturbed)
        clients = [_DisconnectingClient(server, exec_id, seed) for seed in range(4)]
        while not all(client.is_done for client in clients):
            for client in clients:
                if not client.is_done:
                    client.read_part()
        whole = [first, *rest.result()]
    assert sum(client.disconnects for client in clients) >= 200
    for client in clients:
        for name in ("stdout", "stderr"):
            assert text_of(client.events, name) == text_of(whole, name)
        assert [
            (event.id, event.name, event.data) for event in client.events if event.name not in ("stdout", "stderr")
        ] == [(event.id, event.name, event.data) for event in whole if event.name not in ("stdout", "stderr")]
        assert len({event.id for event in client.events}) == len(client.events)


@pytest.mark.row(
    "A stream is a reader of the log: many clients get the same events, and a stalled one does not delay the others"
)
def test_many_clients_read_the_same_stream(server: Client, session: str) -> None:
    exec_id = f"{session}-many"
    code = "for n in range(100): print('é' * 30_000, n)"
    with server.streaming(code, session=session, execId=exec_id) as stalled:
        next(stalled)
        with ThreadPoolExecutor(10) as pool:
            streams = list(pool.map(lambda _: server.follow(exec_id), range(10)))
        assert server.get(f"/executions/{exec_id}")["state"] == "done"
    assert {text_of(events, "stdout") for events in streams} == {"".join(f"{'é' * 30_000} {n}\n" for n in range(100))}
    assert len({json.dumps([event.data for event in events[-2:]]) for events in streams}) == 1
