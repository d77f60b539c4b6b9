"""The Python version and packages that a session must have, and whether its environment has them."""

import asyncio
import json
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from mrmd_python.server.environment import SessionEnvironment

_SCRIPT = Path(__file__).with_name("installed.py")
# How long an interpreter has to list its packages, of which there may be very many on a network's disk.
_SECONDS = 20.0


class BadRequirementError(Exception):
    """A requirement is malformed; the message says which."""


class CannotTellError(Exception):
    """The environment's Python cannot list what it has; the message says why."""


@dataclass(frozen=True)
class Unmet:
    """A requirement that an environment does not meet."""

    requirement: str
    # The version that is there instead, if any is.
    installed: str | None

    def __str__(self) -> str:
        return f"{self.requirement} ({self.installed or 'not'} installed)"


async def unmet_requirements(
    python_version: str, dependencies: Sequence[str], environment: SessionEnvironment
) -> list[Unmet]:
    """Return which requirements `environment` does not meet. No package is imported there.

    Args:
        python_version: "3.11", which any 3.11 is, or ">=3.10,<3.13", or empty for any.
        dependencies: as PEP 508 writes them: "numpy", "pandas>=2; python_version>'3.9'".
        environment: what is looked at.

    Raises:
        BadRequirementError: one of them is malformed.
        CannotTellError: the environment's Python does not start.
    """
    python, requirements = _python_specifier(python_version), [_requirement(text) for text in dependencies]
    installed = await _ask(environment)
    markers: dict[str, str] = installed["markers"]
    versions: dict[str, str] = installed["distributions"]
    unmet = []
    if not python.contains(markers["python_full_version"], prereleases=True):
        unmet.append(Unmet(f"Python {python}", markers["python_full_version"]))
    for requirement in requirements:
        version = versions.get(canonicalize_name(requirement.name))
        if _applies(requirement, markers) and not _is_met(requirement.specifier, version):
            unmet.append(Unmet(str(requirement), version))
    return unmet


def _python_specifier(version: str) -> SpecifierSet:
    plain = re.fullmatch(r"[0-9]+(\.[0-9]+)*", version)
    try:
        return SpecifierSet(f"=={version}.*" if plain else version)
    except InvalidSpecifier:
        raise BadRequirementError(f"invalid Python version {version!r} (e.g. 3.11 or >=3.10)") from None


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement:
        raise BadRequirementError(f"invalid requirement {text!r} (e.g. numpy or numpy>=2)") from None


def _applies(requirement: Requirement, markers: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""})


def _is_met(specifier: SpecifierSet, version: str | None) -> bool:
    if version is None or not specifier:
        return version is not None
    try:
        return specifier.contains(version, prereleases=True)  # whoever installed a prerelease wanted it
    except InvalidVersion:
        return False


async def _ask(environment: SessionEnvironment) -> dict[str, Any]:
    try:
        process = await asyncio.create_subprocess_exec(
            environment.executable,
            str(_SCRIPT),
            cwd=environment.cwd,
            env=environment.process_environment(),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise CannotTellError(f"{environment.executable} cannot be run: {error.strerror}") from None
    try:
        printed, errors = await asyncio.wait_for(process.communicate(), _SECONDS)
    except asyncio.TimeoutError:
        raise CannotTellError(f"{environment.executable} did not list its packages within {_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        # A package may have printed something when Python started.
        answer: dict[str, Any] = json.loads(printed.decode(errors="replace").rpartition("\n")[2])
    except ValueError:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2] or f"exit status {process.returncode}"
        raise CannotTellError(f"{environment.executable} cannot list its packages: {last}") from None
    return answer
