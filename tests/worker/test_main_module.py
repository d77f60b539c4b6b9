"""Cells run in ``__main__``, where libraries find their definitions, in this process and in child processes."""

import pytest

from tests.client import Client


@pytest.fixture
def client(runtime: Client) -> Client:
    """The runtime with a new worker: libraries used by other tests may have left threads, which make forks unsafe."""
    assert runtime.request("DELETE", "/sessions/default")[0] == 200
    return runtime


_DEFINITIONS = """
import dataclasses, inspect, pickle, typing, unittest

@dataclasses.dataclass
class Point:
    x: "int"
    y: "typing.Optional[Point]" = None

def square(n):
    # a comment
    return n * n

class Arithmetic(unittest.TestCase):
    def test_square(self): self.assertEqual(square(3), 9)
"""


def test_definitions_of_cells_are_found_in_main(client: Client) -> None:
    assert client.execute(_DEFINITIONS)["success"]
    assert client.value("pickle.loads(pickle.dumps(Point(1, Point(2))))") == "Point(x=1, y=Point(x=2, y=None))"
    assert client.value("pickle.loads(pickle.dumps(square))(3)") == "9"
    assert client.value("typing.get_type_hints(Point)['y'] == typing.Optional[Point]") == "True"
    assert client.value("inspect.getsource(square)") == repr("def square(n):\n    # a comment\n    return n * n\n")
    assert client.value("import sys; sys.modules['__main__'].__dict__ is globals()") == "True"
    assert client.execute("if __name__ == '__main__': print('main')")["stdout"] == "main\n"
    result = client.execute("_ = unittest.main(argv=[''], exit=False)")
    assert result["success"]
    assert "Ran 1 test" in result["stderr"]
    ended = client.execute("unittest.main(argv=[''])")
    assert ended["error"]["type"] == "SystemExit"
    assert client.value("square(4)") == "16"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_with_every_start_method(client: Client, method: str) -> None:
    """Only forked children can use definitions of cells: others cannot import them from a file."""
    client.execute(f"{_DEFINITIONS}\nimport math, multiprocessing; context = multiprocessing.get_context({method!r})")
    pooled = "with context.Pool(2) as pool: print(pool.map({}, [4, 9]))"
    result = client.execute(pooled.format("math.isqrt"))
    assert (result["stdout"], result["stderr"]) == ("[2, 3]\n", "")
    if method == "fork":
        assert client.execute(pooled.format("square"))["stdout"] == "[16, 81]\n"
    code = f"""
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, mp_context=context) as pool:
    print(list(pool.map({"square" if method == "fork" else "math.isqrt"}, [4])))
"""
    assert client.execute(code)["stdout"] in ("[16]\n", "[2]\n")
    in_child = "process = context.Process(target=print, args=('from the child',)); process.start(); process.join()"
    assert client.execute(in_child)["stdout"] == "from the child\n"
    assert client.value("process.exitcode") == "0"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_inherit_no_descriptor_of_the_session(client: Client, method: str) -> None:
    """Child processes have no socket to the server, and do not import the main module of the worker again."""
    code = f"""
import multiprocessing, os, socket, stat
def sockets_of_the_server():
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > 2 and stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as each:
                    maker = each.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4)
                if int.from_bytes(maker, "little") == {client.pid}:
                    yield os.readlink(f"/proc/self/fd/{{fd}}")
        except OSError:
            continue
own = list(sockets_of_the_server())
with multiprocessing.get_context({method!r}).Pool(1) as pool:
    pid = pool.apply(os.getpid)
    links = [os.readlink(f"/proc/{{pid}}/fd/{{fd}}") for fd in os.listdir(f"/proc/{{pid}}/fd")]
    command = open(f"/proc/{{pid}}/cmdline").read()
print(len(own), [link for link in links if link in own], "mrmd" in command)
"""
    assert client.execute(code)["stdout"] == f"3 [] {method == 'fork'}\n"


def test_joblib_runs_functions_defined_in_cells(client: Client) -> None:
    """joblib's processes outlive the cell; the `runtime` fixture checks that none outlives the runtime."""
    client.execute(f"{_DEFINITIONS}\nimport joblib")
    assert client.value("joblib.Parallel(n_jobs=2)(joblib.delayed(square)(n) for n in range(4))") == "[0, 1, 4, 9]"


def test_forked_child_can_be_terminated_immediately(client: Client) -> None:
    """A child must not lose a SIGTERM that arrives right after the fork: Pool.terminate() would wait forever."""
    code = """
import os, signal, time
exit_codes = set()
for _ in range(200):
    child = os.fork()
    if child == 0:
        time.sleep(60); os._exit(0)
    os.kill(child, signal.SIGTERM)
    exit_codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(exit_codes, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert client.execute(code)["stdout"] == "{-15} set()\n"


@pytest.mark.parametrize("use", ["ssl.SSLContext", "ssl.attribute = 1", "dir(ssl)", "asyncio.sslproto.SSLProtocol"])
def test_openssl_is_loaded_when_it_is_used(client: Client, use: str) -> None:
    """asyncio imports ssl, which takes 4 MB, but few sessions ever use it."""
    try:
        assert client.value("import asyncio, ssl, sys; '_ssl' in sys.modules", session="tls") == "False"
        assert client.execute(use, session="tls")["success"]
        assert client.value("ssl.create_default_context().verify_mode.name", session="tls") == "'CERT_REQUIRED'"
        assert client.execute("ssl.nothing", session="tls")["error"]["type"] == "AttributeError"
    finally:
        client.request("DELETE", "/sessions/tls")


def test_names_of_ssl_are_completed_before_it_is_used(client: Client) -> None:
    try:
        client.execute("import ssl", session="tls")
        matches = client.post("/complete", {"code": "ssl.create_def", "cursor": 14, "session": "tls"})["matches"]
        assert [match["label"] for match in matches] == ["create_default_context"]
    finally:
        client.request("DELETE", "/sessions/tls")
