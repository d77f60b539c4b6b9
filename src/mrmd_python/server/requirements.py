"""Checks whether a session's environment has the Python version and packages that a client requires."""

import asyncio
import json
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from mrmd_python.server.environment import SessionEnvironment

_SCRIPT = Path(__file__).with_name("installed.py")
# How long an interpreter may take to list its packages, which may be many and on a network file system.
_SECONDS = 20.0


class BadRequirementError(Exception):
    """A requirement is invalid; the message says which."""


class PackageListError(Exception):
    """The environment's Python cannot list its packages; the message says why."""


class UnmetRequirement(NamedTuple):
    """A requirement that an environment does not meet."""

    requirement: str
    # The version that is installed instead, if any.
    installed: str | None

    def __str__(self) -> str:
        return f"{self.requirement} ({self.installed or 'not'} installed)"


async def unmet_requirements(
    python_version: str, dependencies: Sequence[str], environment: SessionEnvironment
) -> list[UnmetRequirement]:
    """Return the requirements that `environment` does not meet. No package is imported there.

    Args:
        python_version: for example "3.11" for any 3.11, or ">=3.10,<3.13"; empty for any version.
        dependencies: requirements as in PEP 508: "numpy", "pandas>=2; python_version>'3.9'".
        environment: the environment to check.

    Raises:
        BadRequirementError: a requirement is invalid.
        PackageListError: the environment's Python cannot list its packages.
    """
    python, requirements = _python_specifier(python_version), [_requirement(text) for text in dependencies]
    installed = await _installed(environment)
    markers: dict[str, str] = installed["markers"]
    versions: dict[str, str] = installed["distributions"]
    unmet = []
    if not python.contains(markers["python_full_version"], prereleases=True):
        unmet.append(UnmetRequirement(f"Python {python}", markers["python_full_version"]))
    for requirement in requirements:
        version = versions.get(canonicalize_name(requirement.name))
        if _applies(requirement, markers) and not _is_met(requirement.specifier, version):
            unmet.append(UnmetRequirement(str(requirement), version))
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
        return specifier.contains(version, prereleases=True)  # an installed prerelease is wanted
    except InvalidVersion:
        return False


async def _installed(environment: SessionEnvironment) -> dict[str, Any]:
    """Return the output of installed.py in an environment."""
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
        raise PackageListError(f"{environment.executable} cannot be run: {error.strerror}") from None
    try:
        printed, errors = await asyncio.wait_for(process.communicate(), _SECONDS)
    except asyncio.TimeoutError:
        raise PackageListError(f"{environment.executable} did not list its packages within {_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        # A package may have printed something when Python started.
        answer: dict[str, Any] = json.loads(printed.decode(errors="replace").rpartition("\n")[2])
    except ValueError:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2] or f"exit status {process.returncode}"
        raise PackageListError(f"{environment.executable} cannot list its packages: {last}") from None
    return answer
