"""What a runtime is given arrives as it was, whatever it is: through a unit, an agent or a fork, and a real start.

The examples are the same in every run; with MRMD_TEST_LONG set there are more of them, and others each time.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.machine import Machine

_LONG = bool(os.environ.get("MRMD_TEST_LONG"))
_SETTINGS = settings(
    max_examples=100 if _LONG else 4,
    derandomize=not _LONG,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_AWKWARD = st.sampled_from([*" '\"%$\\\n\r\t😀é-=#;", "%h", "%%", "${HOME}", "$$", "\\n", "--"])
# Noncharacters are what systemd takes for no text, besides what UTF-8 cannot hold.
_CHARACTER = st.characters(codec="utf-8", exclude_characters="\0").filter(
    lambda character: not (0xFDD0 <= ord(character) <= 0xFDEF or ord(character) & 0xFFFE == 0xFFFE)
)
_TEXT = st.lists(st.one_of(_AWKWARD, _CHARACTER), max_size=20).map("".join)
_NAME = _TEXT.map(lambda text: text.replace("/", "|")).filter(
    lambda text: text not in ("", ".", "..") and len(text.encode()) < 200
)
_ID = st.from_regex(r"[A-Za-z0-9_:@+][A-Za-z0-9._:@+-]{0,50}", fullmatch=True)


def _venv(machine: Machine, name: str) -> str:
    """Make a venv of that name: a link to this Python, and the file that says it is one (site.py)."""
    base = Path(os.path.realpath(sys.executable))
    script = 'mkdir -p -- "$1/bin" && ln -sfn "$2" "$1/bin/python" && printf "home = %s\\n" "$3" > "$1/pyvenv.cfg"'
    prefix = f"{machine.home}/venvs/{name}"
    machine.read("sh", "-c", script, "sh", prefix, str(base), str(base.parent))
    return prefix


@pytest.fixture(params=["fork", "launchd", pytest.param("systemd", marks=pytest.mark.systemd)])
def machine(request: pytest.FixtureRequest) -> Machine:
    """A machine of each machine in turn."""
    fixtures = {"fork": "here", "launchd": "mac", "systemd": "box"}
    found: Machine = request.getfixturevalue(fixtures[request.param])
    return found


@_SETTINGS
@given(runtime_id=_ID, values=st.lists(_TEXT, min_size=5, max_size=30), cwd=_NAME, assets=_NAME, venv=_NAME)
def test_environment_and_options_arrive_unchanged(
    machine: Machine, runtime_id: str, values: list[str], cwd: str, assets: str, venv: str
) -> None:
    folder, pictures = f"{machine.home}/w/{cwd}", f"{machine.home}/assets/{assets}"
    machine.read("mkdir", "-p", "--", folder, pictures)
    prefix = _venv(machine, venv)
    inherited = {f"MRMD_T_{number}": value for number, value in enumerate(values)}
    chosen = {f"MRMD_C_{number}": value for number, value in enumerate(values)}
    options = [option for name, value in chosen.items() for option in ("--env", f"{name}={value}")]
    client = machine.start(
        runtime_id, f"--venv={prefix}", f"--cwd={folder}", f"--assets-dir={pictures}", *options, env=inherited
    )
    code = (
        "import json, os, sys\n"
        "given = {name: value for name, value in os.environ.items() if name.startswith(('MRMD_T_', 'MRMD_C_'))}\n"
        "print(json.dumps([given, os.getcwd(), sys.prefix]), end='')"
    )
    result = client.execute(code)
    assert result["success"], result
    assert json.loads(result["stdout"]) == [inherited | chosen, folder, prefix]
    shown = client.execute("from IPython.display import HTML; display(HTML('<b>it</b>'))")
    assert [os.path.dirname(asset["path"]) for asset in shown["assets"]] == [pictures]
    record = machine.info(runtime_id)
    assert {name: record[name] for name in ("id", "venv", "cwd", "assets_dir")} == {
        "id": runtime_id, "venv": prefix, "cwd": folder, "assets_dir": pictures,
    }  # fmt: skip
    assert machine.mrmd("--kill", runtime_id).returncode == 0
