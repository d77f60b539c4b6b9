"""README's terminal sessions work as printed; .ci/run runs its shell commands."""

import re
from pathlib import Path

import pytest

from tests.machine import Machine, box_root

_README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^```console\n(.*?)^```$", _README, re.MULTILINE | re.DOTALL)
_SESSIONS = [[line[2:] for line in block.splitlines() if line.startswith("$ ")] for block in _BLOCKS]
_TIMED_OUT = 124  # timeout(1)


@pytest.mark.systemd
@pytest.mark.parametrize("commands", _SESSIONS, ids=lambda commands: commands[0])
def test_terminal_sessions_work(box: Machine, box_leader: int, free_port: int, commands: list[str]) -> None:
    for command in commands:
        # Users may enable lingering for themselves through polkit, which the box does not have.
        user = box_root(box_leader) if command.startswith("loginctl") else box
        endless = " --foreground " in command
        done = user.run(
            *["timeout", "3"] * endless, "bash", "-c", command.replace("8765", str(free_port)), env={"USER": "dev"}
        )
        assert done.returncode == (_TIMED_OUT if endless else 0), (command, done.stderr)
