"""What a session is asked to have, a Python version and packages, and whether its environment has it."""

import asyncio
import json
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from mrmd_python.server.environment import SessionEnvironment

_SCRIPT = Path(__file__).resolve().parent.parent / "worker" / "installed.py"
_SECONDS = 20.0
"""How long an interpreter has to list its packages, of which there may be very many on a network's disk."""


class BadRequirementError(Exception):
    """What is asked for is no requirement; the message says which."""


class CannotTellError(Exception):
    """The environment's Python does not say what it has; the message says why."""


@dataclass(frozen=True)
class Unmet:
    """A requirement that an environment does not meet."""

    requirement: str
    installed: str | None
    """The version that is there instead, if any is."""

    def __str__(self) -> str:
        return f"{self.requirement} ({'not installed' if self.installed is None else f'{self.installed} is there'})"


@dataclass(frozen=True)
class Requirements:
    """A Python version, as a specifier, and distributions."""

    python: SpecifierSet
    distributions: tuple[Requirement, ...]

    @classmethod
    def parse(cls, python_version: str, dependencies: Sequence[str]) -> "Requirements":
        """Return what is asked for.

        Args:
            python_version: as "3.11", which any 3.11 is, as ">=3.10,<3.13", or empty for any.
            dependencies: as PEP 508 writes them: "numpy", "pandas[excel]>=2; python_version>'3.9'".

        Raises:
            BadRequirementError: one of them is none.
        """
        plain = re.fullmatch(r"[0-9]+(\.[0-9]+)*", python_version)
        try:
            python = SpecifierSet(f"=={python_version}.*" if plain else python_version)
        except InvalidSpecifier:
            raise BadRequirementError(f"{python_version!r} is no Python version, as '3.11' or '>=3.10' is") from None
        distributions = []
        for dependency in dependencies:
            try:
                distributions.append(Requirement(dependency))
            except InvalidRequirement:
                raise BadRequirementError(f"{dependency!r} is no requirement, as 'numpy' or 'numpy>=2' is") from None
        return cls(python, tuple(distributions))

    async def unmet_in(self, environment: SessionEnvironment) -> list[Unmet]:
        """Return what `environment` does not meet; nothing of it is imported but what its Python starts with.

        Raises:
            CannotTellError: its Python does not start.
        """
        if not self.python and not self.distributions:
            return []
        return list(self._unmet(_Installed(**await _ask(environment))))

    def _unmet(self, installed: "_Installed") -> Iterator[Unmet]:
        version = installed.markers["python_full_version"]
        if not self.python.contains(version, prereleases=True):
            yield Unmet(f"Python {self.python}", version)
        for requirement in self.distributions:
            yield from installed.unmet(requirement, set())


@dataclass(frozen=True)
class _Installed:
    """What worker/installed.py prints."""

    distributions: dict[str, dict[str, Any]]
    markers: dict[str, str]

    def unmet(self, requirement: Requirement, seen: set[str], extra: str = "") -> Iterator[Unmet]:
        """Yield what is unmet of a requirement and, for the extras that it names, of what those require."""
        if str(requirement) in seen or not self._applies(requirement, extra):
            return
        seen.add(str(requirement))
        found = self.distributions.get(canonicalize_name(requirement.name))
        if found is None or not _contains(requirement.specifier, found["version"]):
            yield Unmet(str(requirement), None if found is None else found["version"])
            return
        for wanted in sorted(requirement.extras):
            for line in found["requires"]:
                try:
                    needed = Requirement(line)
                except InvalidRequirement:
                    continue  # an old package's own, which no installer could read either
                if not self._applies(needed, ""):
                    yield from self.unmet(needed, seen, wanted)

    def _applies(self, requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({**self.markers, "extra": extra})


def _contains(specifier: SpecifierSet, version: str) -> bool:
    try:
        return specifier.contains(version, prereleases=True)  # what is installed was wanted
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
        printed, fault = await asyncio.wait_for(process.communicate(), _SECONDS)
    except asyncio.TimeoutError:
        raise CannotTellError(f"{environment.executable} did not list its packages within {_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        # What a package prints when Python starts stands before.
        answer: dict[str, Any] = json.loads(printed.decode(errors="replace").rpartition("\n")[2])
    except ValueError:
        last = fault.decode(errors="replace").strip().rpartition("\n")[2] or f"exit status {process.returncode}"
        raise CannotTellError(f"{environment.executable} cannot list its packages: {last}") from None
    return answer
