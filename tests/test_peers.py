"""Connections of other local users are rejected."""

import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.client import Client
from tests.machine import Machine, wait_until
from tests.programs import CHILD, served

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="only root can connect as another user"
)

_NOBODY = 65534
_CONNECT = """
import socket, struct, sys
host, port, ending, headers = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
body = b'{"code": "ran = 1"}'
request = f"POST /mrp/v1/execute HTTP/1.1\\r\\nHost: localhost\\r\\n{headers}Content-Type: application/json\\r\\n"
request += f"Connection: close\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
connection.connect((host, port))
connection.sendall(request.encode() + body)
if ending == "reset":
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
if ending in ("reset", "close"):
    connection.close()
else:
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        pass  # it is refused before it is read
    print(answer.decode())
"""


def _execute(client: Client, uid: int, host: str = "127.0.0.1", ending: str = "open", headers: str = "") -> str:
    """Send POST /execute with the code `ran = 1` as a user, and return the response."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _CONNECT, host, str(client.port), ending, headers],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _has_run(client: Client) -> bool:
    return client.execute("ran")["success"] is True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_another_user_is_rejected(shared: Client, host: str) -> None:
    answer = _execute(shared, _NOBODY, host)
    assert answer.startswith("HTTP/1.1 403 ")
    assert '"peer_refused"' in answer
    assert "--allow-user 65534" in answer
    assert not _has_run(shared)


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connection_closed_before_the_check_is_rejected(shared: Client, host: str, ending: str) -> None:
    """The kernel no longer knows the owner of a closed socket, or reports root."""
    os.kill(shared.pid, signal.SIGSTOP)
    try:
        _execute(shared, _NOBODY, host, ending)
    finally:
        os.kill(shared.pid, signal.SIGCONT)
    assert not _has_run(shared)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_user_of_the_runtime_is_accepted(shared: Client, host: str) -> None:
    assert _execute(shared, os.geteuid(), host).startswith("HTTP/1.1 200 ")
    assert _has_run(shared)


def test_allowed_user_is_accepted(here: Machine) -> None:
    client = here.start("a", "--allow-user", "nobody", "--allow-user", "4243")
    for uid in (_NOBODY, 4243):
        assert _execute(client, uid).startswith("HTTP/1.1 200 ")
    assert _execute(client, 4244).startswith("HTTP/1.1 403 ")


def test_application_rejects_another_user(here: Machine) -> None:
    with served(here, CHILD) as client:
        assert _execute(client, os.geteuid()).startswith("HTTP/1.1 200 ")
        client.post("/reset")
        assert _execute(client, _NOBODY).startswith("HTTP/1.1 403 ")
        connection = client.connect()
        connection.connect()
        own = f"127.0.0.1:{connection.sock.getsockname()[1]}"
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            for name in (own, "127.0.0.1", "192.0.2.7", f"for={own}"):
                assert _execute(client, _NOBODY, headers=f"{header}: {name}\r\n").startswith("HTTP/1.1 403 ")
        connection.close()
        os.kill(client.pid, signal.SIGSTOP)
        try:
            for ending in ("close", "reset"):
                _execute(client, _NOBODY, ending=ending)
        finally:
            os.kill(client.pid, signal.SIGCONT)
        assert not _has_run(client)


def test_application_on_a_unix_socket_needs_a_token(here: Machine, tmp_path: Path) -> None:
    """uvicorn makes one that all users may open, and does not say who did; so does a proxy before it."""
    path = tmp_path / "socket"
    for arguments, status in ((CHILD, 403), (f"{CHILD}, token='0123456789abcdef'", 200)):
        program = f"import uvicorn, mrmd_python; uvicorn.run(mrmd_python.create_app({arguments}), uds={str(path)!r})"
        with subprocess.Popen(here.command(sys.executable, "-c", program)) as process:
            try:
                wait_until(lambda: path.exists() and path.stat().st_mode & 0o777 == 0o666, "it listens")
                for headers in ("", "X-Forwarded-For: 127.0.0.1\r\n"):
                    with socket.socket(socket.AF_UNIX) as connection:
                        connection.connect(str(path))
                        token = "Authorization: Bearer 0123456789abcdef\r\nConnection: close\r\n"
                        request = f"GET /mrp/v1/sessions HTTP/1.1\r\nHost: localhost\r\n{headers}{token}\r\n"
                        connection.sendall(request.encode())
                        assert connection.makefile("rb").readline().split()[1] == str(status).encode()
            finally:
                process.terminate()
                process.wait(timeout=30)
        path.unlink(missing_ok=True)


def test_dual_stack_application_rejects_other_users(here: Machine) -> None:
    both = "('::', 0), family=socket.AF_INET6, dualstack_ipv6=True"
    with served(here, CHILD, address=both) as client:
        for host in ("127.0.0.1", "::1"):
            assert _execute(client, os.geteuid(), host).startswith("HTTP/1.1 200 ")
            client.post("/reset")
            assert _execute(client, _NOBODY, host).startswith("HTTP/1.1 403 ")
        assert not _has_run(client)


_HOLD = """
import socket, sys, time
port, count, start = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
held = []
for _ in range(count):
    try:
        held.append(socket.create_connection(("127.0.0.1", port), timeout=2))
        held[-1].sendall(start)
    except OSError:
        pass
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def _held(uid: int, client: Client, count: int, start: str) -> Iterator[None]:
    """Have a user open connections, send `start` on each, and hold them while the block runs."""
    command = ["prlimit", "--nofile=4096", "/usr/bin/python3", "-c", _HOLD, str(client.port), str(count), start]
    with subprocess.Popen(
        command, user=uid, group=uid, extra_groups=[], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield
        process.stdin.close()
        process.wait(timeout=30)


def test_another_user_cannot_use_up_descriptors(here: Machine) -> None:
    limited = dataclasses.replace(here, prefix=["prlimit", "--nofile=200:200"])
    client = limited.start("a")
    with _held(_NOBODY, client, 400, "POST"):
        assert client.call("GET", "/capabilities", timeout=5).status == 200


def test_another_user_cannot_use_up_memory(client: Client) -> None:
    client.get("/capabilities")
    before = psutil.Process(client.pid).memory_info().rss
    headers = "".join(f"X-{number}: {'x' * 8000}\r\n" for number in range(15))  # an argument has 128 KiB
    with _held(_NOBODY, client, 300, f"GET / HTTP/1.1\r\n{headers}"):
        client.get("/capabilities")
        assert psutil.Process(client.pid).memory_info().rss - before < 10_000_000


@pytest.mark.parametrize("uid", [_NOBODY, os.geteuid()])
def test_malformed_requests_do_not_fill_the_log(here: Machine, uid: int) -> None:
    client = here.start("a")
    log = here.home / ".mrmd" / "logs" / "a.log"
    before = len(log.read_text())
    for start in (f"GET /{'a' * 100_000} HTTP/1.1\r\n\r\n", "G\x1b]0;x\x07 / HTTP/1.1\r\n\r\n", "nonsense\r\n\r\n"):
        with _held(uid, client, 20, start):
            pass
    client.get("/capabilities")
    if uid != _NOBODY:
        wait_until(lambda: len(log.read_text()) > before, "the first of them is in the log")
    added = log.read_text()[before:]
    assert len(added.splitlines()) == (0 if uid == _NOBODY else 1), added
    assert len(added) < 400
    assert "\x1b" not in added


def test_owner_is_known_when_one_descriptor_is_left(here: Machine) -> None:
    client = here.start("a")
    client.get("/capabilities")
    with _one_descriptor_left(here, client.pid):
        assert client.get("/capabilities")["runtime"] == "mrmd-python"


@contextmanager
def _one_descriptor_left(machine: Machine, pid: int) -> Iterator[None]:
    """Let a process open one more descriptor while the block runs."""
    names = machine.read("ls", f"/proc/{pid}/fd").split()
    free = (number for number in itertools.count() if str(number) not in names)
    next(free)
    machine.read("prlimit", f"--pid={pid}", f"--nofile={next(free)}:")
    yield
    machine.read("prlimit", f"--pid={pid}", "--nofile=1024:")


@pytest.mark.systemd
def test_peer_check_falls_back_to_proc(box: Machine) -> None:
    """Runs in the box, where the runtime belongs to an unprivileged user and the tests still run as root."""
    limits = Path("/home/dev/.config/systemd/user/mrmd-python@.service.d/limits.conf")
    box.read("install", "-D", "/dev/null", str(limits))
    families = "[Service]\\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\\n"
    box.read("bash", "-c", f"printf '{families}' > {limits}")
    client = box.start("a")
    netlink = client.execute("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4)")
    assert netlink["error"]["type"] == "OSError", "netlink is not blocked, so /proc is not tested"
    for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert _execute(client, 4243, host).startswith("HTTP/1.1 403 ")
        assert not _has_run(client)
        assert _execute(client, 4242, host).startswith("HTTP/1.1 200 ")
        client.post("/reset")
    with _one_descriptor_left(box, client.pid):
        answer = _execute(client, 4242)
        assert answer.startswith("HTTP/1.1 503 ")
        assert '"peer_unknown"' in answer
    box.read("rm", "-r", str(limits.parent))


@pytest.mark.systemd
def test_other_users_are_rejected_except_root(box: Machine) -> None:
    client = box.start("a")
    for host in ("127.0.0.1", "::1"):
        assert _execute(client, 4243, host).startswith("HTTP/1.1 403 ")
        assert not _has_run(client)
        for uid in (0, 4242):
            assert _execute(client, uid, host).startswith("HTTP/1.1 200 ")
            client.post("/reset")
