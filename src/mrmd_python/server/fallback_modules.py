"""The server's own IPython and its dependencies, for venvs without IPython."""

import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import Distribution


class IncompatibleIPythonError(Exception):
    """The server's IPython does not run on this Python; the message says what to install."""


def fallback_modules(python_version: tuple[int, ...], executable: str) -> dict[str, Any]:
    """Return the directory of each top-level module, and the directory with the metadata of each distribution.

    Args:
        python_version: the version of the interpreter that will import them.
        executable: the path of that interpreter, for the message.

    Raises:
        IncompatibleIPythonError: the server's IPython is too new for that interpreter.
    """
    from importlib import metadata  # few runtimes need it, and it would delay the start of each

    ipython = metadata.distribution("ipython")
    minimum = re.search(r">=\s*(\d+)\.(\d+)", ipython.metadata["Requires-Python"] or "")
    if minimum is not None and python_version[:2] < (int(minimum[1]), int(minimum[2])):
        needed = f"{minimum[1]}.{minimum[2]}"
        raise IncompatibleIPythonError(
            f"it has no IPython, and the IPython {ipython.version} of mrmd-python needs Python {needed} or newer; "
            f"install one that fits: {executable} -m pip install ipython"
        )
    modules: dict[str, str] = {}
    distributions: dict[str, str] = {}
    seen: set[str] = set()
    pending = ["ipython"]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a requirement for another platform or Python, or of an extra
        if not _runs_on(distribution, python_version):
            continue
        distributions[name] = str(distribution.locate_file(""))
        for module in _top_level(distribution):
            modules[module] = distributions[name]
        pending += [_name(requirement) for requirement in distribution.requires or () if "extra ==" not in requirement]
    return {"modules": modules, "distributions": distributions}


def _runs_on(distribution: "Distribution", python_version: tuple[int, ...]) -> bool:
    """Return whether a package that was installed for the server's Python also runs on this version."""
    wheel = distribution.read_text("WHEEL") or ""
    stable_abi = re.search(r"^Tag: cp3(\d+)-abi3-", wheel, re.MULTILINE)  # PEP 425, PEP 384
    return "Root-Is-Purelib: true" in wheel or (
        stable_abi is not None and python_version[:2] >= (3, int(stable_abi[1]))
    )


def _top_level(distribution: "Distribution") -> set[str]:
    tops = {path.parts[0] for path in distribution.files or () if path.suffix == ".py"}
    return {top.removesuffix(".py") for top in tops if top not in ("..", "__pycache__")} - sys.stdlib_module_names


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return match[0]
