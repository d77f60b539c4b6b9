"""Tokens: when a runtime requires one, where it is stored, and where it must not appear."""

import json
import secrets
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.client import DRAWING, Client
from tests.machine import MRMD, Machine, processes_of, wait_until
from tests.programs import CHILD, SERVICE, served

_CHOSEN = f"chosen.{secrets.token_hex(16)}"


def _status(client: Client, token: str | None, **headers: str) -> int:
    authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
    return client.request("POST", "/execute", {"code": "ran = 1"}, headers={**authorization, **headers})[0]


def _token(machine: Machine, runtime_id: str) -> str:
    return machine.read("cat", machine.info(runtime_id)["token_file"])


def test_runtime_with_token_requires_it(machine: Machine) -> None:
    client = machine.start("a", "--token")
    token = _token(machine, "a")
    assert len(token) >= 43, "the token has fewer than 256 bits"
    assert machine.read("stat", "--format=%a %n", f"{machine.home}/.mrmd/tokens/a", f"{machine.home}/.mrmd/tokens") == (
        f"600 {machine.home}/.mrmd/tokens/a\n700 {machine.home}/.mrmd/tokens"
    )
    answer = client.fetch("GET", "/mrp/v1/capabilities")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="mrmd-python"')
    assert json.loads(answer.body)["code"] == "token_required"
    for wrong in ("", "x", token[:-1], token + "x", token.swapcase(), "ü" * 43):
        assert _status(client, wrong.encode().decode("latin-1")) == 401, wrong
    assert _status(client, None, Authorization=f"Basic {token}") == 401
    assert client.request("GET", f"/capabilities?token={token}&access_token={token}")[0] == 401, (
        "a token in a URL must not be accepted: URLs are logged"
    )
    for path in ("/sessions", "/executions", "/assets/x", "/nowhere"):
        assert client.request("GET", path)[0] == 401
    assert _status(client, token, Host="evil.example") == 403, "a token must not replace the check of Host"
    assert client.request("POST", "/execute", {"code": "ran"}, {"Authorization": f"bearer {token}"})[1]["error"]
    assert _status(client, token) == 200


def test_preflight_needs_no_token(here: Machine) -> None:
    client = here.start("a", "--token")
    preflight = {"Origin": "http://localhost:1", "Access-Control-Request-Method": "POST"}
    assert client.fetch("OPTIONS", "/mrp/v1/execute", **preflight).status == 204
    status, answer = client.request("GET", "/capabilities", headers={"Origin": "http://localhost:1"})
    assert (status, answer["code"]) == (401, "token_required")


def test_token_is_stored_only_in_its_file(machine: Machine) -> None:
    started = machine.mrmd("--id", "a", "--token", env={"MRMD_TOKEN": _CHOSEN})
    assert started.returncode == 0, started.stderr
    assert f"{machine.home}/.mrmd/tokens/a" in started.stdout
    client = machine.client("a")
    headers = {"Authorization": f"Bearer {_CHOSEN}"}
    wrong = client.request("GET", "/sessions", headers={"Authorization": f"Bearer {_CHOSEN}x"})
    code = "import os, subprocess, sys; print(os.environ, open('/proc/self/environ').read(), sys.argv)"
    code += "; print(subprocess.run(['env'], capture_output=True, text=True).stdout)"
    result = client.request("POST", "/execute", {"code": code}, headers)[1]
    assert result["success"]
    # Answered by the analysis process.
    client.request("POST", "/complete", {"code": "impor", "cursor": 5, "session": "other"}, headers)
    texts = [started.stdout, started.stderr, result["stdout"], str(wrong)]
    for arguments in (["--list"], ["--info", "a"], ["--list", "--json"], ["--info", "a", "--json"], ["--id", "a"]):
        texts.append(machine.mrmd(*arguments).stdout)
    texts.append(machine.read("bash", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; ps ax"))
    texts.append(
        machine.read("bash", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' ' | grep -v [g]rep; true")
    )
    directories = f"{machine.home}/.mrmd {machine.home}/.config"
    texts.append(
        machine.read(
            "bash", "-c", f"find {directories} -type f ! -path '*/tokens/*' -exec cat {{}} + 2>/dev/null; true"
        )
    )
    if machine.backend == "systemd":
        texts.append(machine.read("systemctl", "--user", "show", "mrmd-python@a"))
        texts.append(machine.read("journalctl", "--user", "--unit=mrmd-python@a", "--output=verbose"))
    for text in texts:
        assert _CHOSEN not in text
    assert _token(machine, "a") == _CHOSEN
    assert machine.mrmd("--kill", "a").returncode == 0
    assert machine.read("find", f"{machine.home}/.mrmd/tokens", "-type", "f") == ""


def test_start_with_token_rejects_running_runtime_without_one(here: Machine) -> None:
    here.start("open")
    refused = here.mrmd("--id", "open", "--token")
    assert (refused.returncode, "without a token" in refused.stderr) == (1, True)
    here.start("guarded", "--token")
    token = _token(here, "guarded")
    assert here.mrmd("--id", "guarded").returncode == 0
    assert here.mrmd("--id", "guarded", "--token", env={"MRMD_TOKEN": _CHOSEN}).returncode == 0
    assert _token(here, "guarded") == token


@pytest.mark.parametrize(
    "invalid", ["short-one", "with spaces in it, long enough", "ümläuts-und-so-weiter-lang", "x" * 20 + "\n"]
)
def test_invalid_token_is_rejected_and_not_printed(here: Machine, invalid: str) -> None:
    for arguments in (["--token"], ["--token", "--foreground"], ["--token", "--foreground", "--managed"]):
        done = here.mrmd(*arguments, env={"MRMD_TOKEN": invalid})
        assert (done.returncode, "MRMD_TOKEN must be" in done.stderr) == (1, True), done
        assert invalid.strip() not in done.stderr
    assert list((here.home / ".mrmd" / "tokens").iterdir()) == []


def test_start_rejects_unreadable_token_file(here: Machine) -> None:
    """It must not serve without a token instead."""
    path = here.home / ".mrmd" / "tokens" / "a"
    path.parent.mkdir(parents=True)
    path.mkdir()
    done = here.mrmd("--id", "a", "--token")
    assert done.returncode == 1
    assert str(path) in done.stderr
    path.rmdir()


def test_token_survives_restart(machine: Machine) -> None:
    client = machine.start("a", "--token")
    token = _token(machine, "a")
    restarted = machine.mrmd("--restart", "a")
    assert restarted.returncode == 0, restarted.stderr
    again = machine.client("a")
    assert again.pid != client.pid
    assert (_status(again, None), _status(again, token)) == (401, 200)


def test_env_option_rejects_mrmd_token(here: Machine) -> None:
    """The token would be visible in the command line."""
    refused = here.mrmd("--env", f"MRMD_TOKEN={_CHOSEN}")
    assert refused.returncode == 1
    assert _CHOSEN not in refused.stderr
    assert _CHOSEN not in here.mrmd("--token", "--render", "systemd", env={"MRMD_TOKEN": _CHOSEN}).stdout


@pytest.mark.systemd
def test_token_survives_server_crash(box: Machine) -> None:
    client = box.start("a", "--token")
    token = _token(box, "a")
    box.kill("KILL", client.pid)
    again = box.wait_for_restart("a", client)
    assert (_status(again, None), _status(again, token)) == (401, 200)
    box.kill("KILL", again.pid)
    box.read("rm", f"{box.home}/.mrmd/tokens/a")
    result = box.run("systemctl", "--user", "restart", "mrmd-python@a")
    assert result.returncode != 0, "the server started without its token file"
    assert "cannot read the token" in box.read("journalctl", "--user", "--unit=mrmd-python@a", "--output=cat")


def test_managed_runtime_takes_its_token_from_the_environment(here: Machine, free_port: int) -> None:
    missing = here.mrmd("--foreground", "--managed", "--token")
    assert (missing.returncode, "MRMD_TOKEN" in missing.stderr) == (1, True)
    options = ["--foreground", "--managed", "--token", "--port", str(free_port)]
    command = here.command(MRMD, *options, env={"MRMD_TOKEN": _CHOSEN})
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            client = Client.at(free_port, process.pid)
            wait_until(client.answers, "the server answers")
            assert (_status(client, None), _status(client, _CHOSEN)) == (401, 200)
            headers = {"Authorization": f"Bearer {_CHOSEN}"}
            code = "import os; 'MRMD_TOKEN' in os.environ"
            assert client.request("POST", "/execute", {"code": code}, headers)[1]["result"] == "False"
        finally:
            process.terminate()
    wait_until(lambda: processes_of(here.home) == [], "all processes of the runtime have ended")


def test_foreground_runtime_removes_its_token(here: Machine) -> None:
    path = here.home / ".mrmd" / "tokens" / "a"
    with subprocess.Popen(
        here.command(MRMD, "--id", "a", "--foreground", "--token"), stderr=subprocess.PIPE
    ) as process:
        try:
            wait_until(lambda: "running" in here.mrmd("--list").stdout, "the runtime is running")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert _status(here.client("a"), path.read_text().strip()) == 200
        finally:
            process.terminate()
            assert process.stderr is not None
            assert str(path) in process.stderr.read().decode()
    assert not path.exists()


def _other_addresses() -> list[str]:
    """Return addresses of this machine that are not loopback."""
    found = []
    for family, remote in ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote, 9))  # chooses the address without sending anything
                found.append(probe.getsockname()[0])
            except OSError:
                continue
    return found


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "own"])
def test_other_addresses_require_a_token(here: Machine, host: str) -> None:
    addresses = [address for address in _other_addresses() if host == "own" or (":" in address) == (host == "::")]
    if not addresses:
        pytest.skip("this machine has only loopback addresses of that kind")
    address = addresses[0]
    started = here.mrmd("--id", "a", "--host", address if host == "own" else host, "--allow-host", "kernel.example")
    assert started.returncode == 0, started.stderr
    assert "Authorization: Bearer $(cat" in started.stdout
    local = here.client("a")
    token = _token(here, "a")
    url_host = f"[{address}]" if ":" in address else address
    assert (_status(local, None), _status(local, token)) == (401, 200), "a token is required on loopback, too"
    for sent, host_header, status in (
        (None, url_host, 401),
        (token, url_host, 200),
        (token, f"{url_host}:{local.port}", 200),
        (token, "kernel.example", 200),
        (token, "evil.example", 403),
    ):
        assert _status_at(address, local.port, sent, host_header) == status, host_header


def test_application_requires_token_from_other_machines(here: Machine) -> None:
    others = [address for address in _other_addresses() if ":" not in address]
    for arguments, statuses in (
        (CHILD, [200, 403, 403]),
        (f"{CHILD}, token=__import__('os').environ['MRMD_TOKEN']", [401, 401, 200]),
    ):
        with served(here, arguments, address="('0.0.0.0', 0)", env={"MRMD_TOKEN": _CHOSEN}) as client:
            assert _status(client, None) == statuses[0]
            code = {"code": "import os; 'MRMD_TOKEN' in os.environ"}
            found = client.request("POST", "/execute", code, {"Authorization": f"Bearer {_CHOSEN}"})[1]
            assert found["result"] == "False"
            for token, status in zip((None, _CHOSEN), statuses[1:], strict=True):
                for address in others:
                    assert _status_at(address, client.port, token) == status


def _status_at(address: str, port: int, token: str | None, host: str = "localhost") -> int:
    with socket.create_connection((address, port), timeout=30) as remote:
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        remote.sendall(f"GET /mrp/v1/sessions HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n".encode())
        return int(remote.recv(65536).split()[1])


def test_application_sends_the_token_of_its_runtime(here: Machine) -> None:
    guarded = here.start("default", "--token")
    with served(here, SERVICE) as client:
        assert client.value("41 + 1", session="s") == "42"
        assert [event.name for event in client.stream("1")][-2:] == ["result", "done"]
        assert _status(guarded, None) == 401
    (here.home / ".mrmd" / "tokens" / "default").unlink()
    with served(here, SERVICE, options="lifespan='off'") as client:
        status, answer = client.request("POST", "/execute", {"code": "1"})
        assert (status, answer["code"]) == (503, "session_start_failed")
        assert "cannot read the token" in answer["error"]


@pytest.mark.parametrize("umask", ["000", "077"])
def test_files_are_private_under_any_umask(machine: Machine, umask: str) -> None:
    variables = {"MRMD_HOME": f"{machine.home}/deep/er/mrmd-{umask}"}
    if machine.backend == "fork":
        variables["XDG_CONFIG_HOME"] = f"{machine.home}/conf-{umask}"
    try:
        _check_modes(machine, umask, variables)
    finally:
        assert machine.mrmd("--kill-all", env=variables).returncode == 0


def _check_modes(machine: Machine, umask: str, variables: dict[str, str]) -> None:
    images = f"{machine.home}/images-{umask}"
    script = f"umask {umask}; exec {MRMD} --id a --token --assets-dir {images}/in/here"
    started = machine.run("bash", "-c", script, env=variables)
    assert started.returncode == 0, started.stderr
    record = machine.info("a", variables)
    client, token = Client.of_record(record), machine.read("cat", record["token_file"])
    headers = {"Authorization": f"Bearer {token}"}
    for asset_dir in (None, f"{images}/on/request"):
        assert client.request("POST", "/execute", {"code": DRAWING, "assetDir": asset_dir}, headers)[1]["assets"]
    if machine.backend == "fork":
        _fill_log(client, headers, Path(variables["MRMD_HOME"], "logs"))
    else:
        unit = f"{machine.home}/.config/systemd/user/mrmd-python@a.service"
        assert machine.read("stat", "--format=%a", unit) == "600"
    listed = machine.read("find", f"{machine.home}/deep", images, "-printf", "%y %m %p\n").splitlines()
    assert len([line for line in listed if line.startswith("f ")]) >= 6
    for line in listed:
        kind, mode, _ = line.split(" ", 2)
        assert mode == {"d": "700", "f": "600"}[kind], line
    for _ in range(2):
        ask = {"code": "import os; found = os.umask(0o22); os.umask(found); f'{found:03o}'", "session": "new"}
        result = client.request("POST", "/execute", ask, headers)[1]["result"]
        assert result == repr(umask), "cells do not have the caller's umask"
        assert machine.mrmd("--restart", "a", env=variables).returncode == 0


def _fill_log(client: Client, headers: dict[str, str], directory: Path) -> None:
    """Print between executions, which goes to the log, until the log is rotated."""
    code = """
import threading, time
def fill():
    go.wait()
    for _ in range(1200): print("x" * 10_000)
go = threading.Event(); threading.Thread(target=fill).start(); _ = threading.Timer(0.2, go.set).start()
"""
    client.request("POST", "/execute", {"code": code}, headers)
    wait_until(lambda: (directory / "a.log.1").exists(), "the log is rotated")
