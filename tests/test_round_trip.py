"""Environment values, paths and options reach the session unchanged, with every backend.

The generated examples are the same in every run; MRMD_TEST_LONG=1 generates more, and new ones each time.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.machine import Machine

_LONG = bool(os.environ.get("MRMD_TEST_LONG"))
_SETTINGS = settings(
    max_examples=100 if _LONG else 2,
    derandomize=not _LONG,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_AWKWARD = st.sampled_from([*" '\"%$\\\n\r\t😀é-=#;", "%h", "%%", "${HOME}", "$$", "\\n", "--"])
# systemd rejects text with Unicode noncharacters.
_CHARACTER = st.characters(codec="utf-8", exclude_characters="\0").filter(
    lambda character: not (0xFDD0 <= ord(character) <= 0xFDEF or ord(character) & 0xFFFE == 0xFFFE)
)
_TEXT = st.lists(st.one_of(_AWKWARD, _CHARACTER), max_size=20).map("".join)
_NAME = _TEXT.map(lambda text: text.replace("/", "|")).filter(
    lambda text: text not in ("", ".", "..") and len(text.encode()) < 200
)
_UNUSUAL_VALUES = [
    "a 'single' and a \"double\" one",
    "$HOME ${HOME} $$ `id`",
    "100% %h %% %i",
    "\\ \\n \\\\ \\x41 C:\\new\\",
    "one\ntwo\r\n\nthree\n",
    "  \t ",
    "",
    "é€😀\u2028\ufeff",
    "# not a comment ; either",
    "\x01\x1b[31m\x7f",
    "a=b=c,d",
]
_UNUSUAL_NAME = "-- é😀 quo'te\"s %h ${HOME} `id`\r\n#SBATCH\\"
_ID = st.from_regex(r"[A-Za-z0-9_:@+][A-Za-z0-9._:@+-]{0,50}", fullmatch=True)


def _venv(machine: Machine, name: str) -> str:
    """Make a minimal venv with that name: a symlink to this Python, and pyvenv.cfg (site.py)."""
    base = Path(os.path.realpath(sys.executable))
    script = 'mkdir -p -- "$1/bin" && ln -sfn "$2" "$1/bin/python" && printf "home = %s\\n" "$3" > "$1/pyvenv.cfg"'
    prefix = f"{machine.home}/venvs/{name}"
    machine.read("sh", "-c", script, "sh", prefix, str(base), str(base.parent))
    return prefix


@pytest.fixture(
    params=[
        "fork",
        "launchd",
        pytest.param("systemd", marks=pytest.mark.systemd),
        pytest.param("slurm", marks=pytest.mark.slurm),
    ]
)
def machine(request: pytest.FixtureRequest) -> Machine:
    """The machine of each backend in turn."""
    fixtures = {"fork": "here", "launchd": "mac", "systemd": "box", "slurm": "login"}
    found: Machine = request.getfixturevalue(fixtures[request.param])
    return found


@_SETTINGS
@example(runtime_id="a", values=_UNUSUAL_VALUES, cwd=_UNUSUAL_NAME, assets=_UNUSUAL_NAME, venv=_UNUSUAL_NAME)
@given(runtime_id=_ID, values=st.lists(_TEXT, min_size=5, max_size=30), cwd=_NAME, assets=_NAME, venv=_NAME)
def test_environment_and_options_arrive_unchanged(
    machine: Machine, runtime_id: str, values: list[str], cwd: str, assets: str, venv: str
) -> None:
    directory, asset_dir = f"{machine.home}/w/{cwd}", f"{machine.home}/assets/{assets}"
    machine.read("mkdir", "-p", "--", directory, asset_dir)
    prefix = _venv(machine, venv)
    inherited = {f"MRMD_T_{number}": value for number, value in enumerate(values)}
    chosen = {f"MRMD_C_{number}": value for number, value in enumerate(values)}
    options = [option for name, value in chosen.items() for option in ("--env", f"{name}={value}")]
    client = machine.start(
        runtime_id, f"--venv={prefix}", f"--cwd={directory}", f"--assets-dir={asset_dir}", *options, env=inherited
    )
    code = (
        "import json, os, sys\n"
        "given = {name: value for name, value in os.environ.items() if name.startswith(('MRMD_T_', 'MRMD_C_'))}\n"
        "print(json.dumps([given, os.getcwd(), sys.prefix]), end='')"
    )
    result = client.execute(code)
    assert result["success"], result
    assert json.loads(result["stdout"]) == [inherited | chosen, directory, prefix]
    shown = client.execute("from IPython.display import HTML; display(HTML('<b>it</b>'))")
    assert [os.path.dirname(asset["path"]) for asset in shown["assets"]] == [asset_dir]
    record = machine.info(runtime_id)
    assert {name: record[name] for name in ("id", "venv", "cwd", "assets_dir")} == {
        "id": runtime_id, "venv": prefix, "cwd": directory, "assets_dir": asset_dir,
    }  # fmt: skip
    assert machine.mrmd("--kill", runtime_id).returncode == 0
