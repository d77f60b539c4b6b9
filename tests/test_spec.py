"""A spec survives the server's command line and the record, for every option."""

from dataclasses import fields

import pytest

from mrmd_python.cli.command import command
from mrmd_python.runtime.spec import RuntimeSpec

_REQUIRED = {"id": "a+b", "venv": "/v", "python": "/v/bin/python3", "venv_source": "own", "cwd": "/-w \n"}
_OTHERS: dict[str, object] = {
    "host": "::1",
    "port": 8765,
    "assets_dir": "/-images",
    "backend": "fork",
    "idle_timeout": 7200,
    "umask": "0077",
    "timeout": 5,
    "stop_timeout": 60,
    "managed": True,
    "until_eof": True,
    "token": True,
    "allow_hosts": ("a.example", "[::2]"),
    "allow_origins": ("https://a.example",),
    "allow_users": (0, 4242),
    "memory_max": "8G",
    "memory_high": "50%",
    "cpu_quota": "200%",
    "tasks_max": "9",
    "nice": -1,
    "properties": ("A=b=c", "D="),
}


def _parsed(spec: RuntimeSpec) -> RuntimeSpec:
    options = command.make_context("mrmd-python", spec.options()).params
    return RuntimeSpec(**{each.name: options[each.name] for each in fields(RuntimeSpec)})


def test_every_option_has_an_example() -> None:
    assert {each.name for each in fields(RuntimeSpec)} == {*_REQUIRED, *_OTHERS}


@pytest.mark.parametrize("name", _OTHERS)
def test_option_survives_command_line_and_record(name: str) -> None:
    spec = RuntimeSpec(**{**_REQUIRED, name: _OTHERS[name]})  # type: ignore[arg-type]
    assert _parsed(spec) == spec
    assert RuntimeSpec(**RuntimeSpec.parse_options(spec.options())) == spec
    assert RuntimeSpec.from_json({**spec.as_json(), "field of a newer version": 1}) == spec
    assert len(spec.options()) > len(_REQUIRED)


def test_defaults_are_not_on_the_command_line() -> None:
    spec = RuntimeSpec(**_REQUIRED)  # type: ignore[arg-type]
    assert spec.options() == [
        "--id=a+b", "--venv=/v", "--python=/v/bin/python3", "--venv-source=own", "--cwd=/-w \n"
    ]  # fmt: skip
    assert _parsed(spec) == spec
