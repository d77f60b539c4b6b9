"""The agent that launchd is given, rendered on any platform."""

import plistlib
from pathlib import Path

from mrmd_python.service import launchd
from mrmd_python.service.home import Home
from mrmd_python.service.spec import Inherited, RuntimeSpec

_DOCUMENTED = {  # launchd.plist(5), those that an agent of ours may have
    "Label", "ProgramArguments", "EnvironmentVariables", "WorkingDirectory", "RunAtLoad", "KeepAlive",
    "ThrottleInterval", "ExitTimeOut", "ProcessType", "StandardOutPath", "StandardErrorPath", "AbandonProcessGroup",
}  # fmt: skip


def test_the_agent_is_complete_and_documented() -> None:
    spec = RuntimeSpec(
        id="rt:a+b",
        venv="/v en%v",
        python="/v en%v/bin/python",
        venv_source="option",
        cwd='/w <&> "d" é\n',
        assets_dir="/assets",
    )
    environment = {"A": "<&>\"'%$\\\n é😀", "EMPTY": ""}
    agent = plistlib.loads(launchd.render(Home(Path("/home/x/.mrmd")), spec, environment))
    assert set(agent) == _DOCUMENTED
    assert agent["Label"] == "dev.mrmd.python.rt:a+b"
    assert agent["EnvironmentVariables"] == environment
    assert agent["KeepAlive"] == {"Crashed": True}
    assert agent["AbandonProcessGroup"] is False
    assert agent["StandardOutPath"] == agent["StandardErrorPath"] == "/home/x/.mrmd/logs/rt:a+b.log"
    arguments = agent["ProgramArguments"]
    assert Path(arguments[0]).is_file()
    assert Path(arguments[2], "__main__.py").is_file()
    parsed, inherited = RuntimeSpec.from_arguments(arguments[3:])
    assert inherited == Inherited()
    assert parsed == RuntimeSpec(**{**vars(spec), "backend": "launchd"})
