"""The Python interpreters installed on this machine, and venvs made from them."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.machine import BIN

OLDEST = (3, 9)


@cache
def interpreters() -> dict[str, str]:
    """Return the path of one CPython per minor version, by ``MAJOR.MINOR``, including unsupported old ones."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    for candidate in sorted(Path.home().glob(".pyenv/versions/*/bin/python")):
        print_version = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", print_version], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found[done.stdout.strip()] = str(candidate)
    return found


def supported() -> list[str]:
    """Return the installed versions that sessions support, oldest first."""
    return sorted((version for version in interpreters() if numbers(version) >= OLDEST), key=numbers)


def oldest_and_newest() -> list[str]:
    """Return the first and the last of the supported versions."""
    return sorted({supported()[0], supported()[-1]}, key=numbers)


def too_old() -> list[str]:
    """Return the installed versions that are too old for sessions."""
    return [version for version in interpreters() if numbers(version) < OLDEST]


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as a tuple of numbers, for comparison."""
    return tuple(map(int, version.split(".")))


def make_venv(version: str, venv: Path, *packages: str, options: tuple[str, ...] = ()) -> str:
    """Make a venv with `packages` by uv, which shares their files between venvs; return the path of its python."""
    uv = str(BIN / "uv")
    subprocess.run([uv, "venv", "--quiet", "--python", interpreters()[version], *options, venv], check=True)
    python = f"{venv}/bin/python"
    if packages:
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
    return python


if __name__ == "__main__":
    for version in supported():
        if numbers(version) >= numbers(sys.argv[1]) and interpreters()[version] != sys.executable:
            print(interpreters()[version])
