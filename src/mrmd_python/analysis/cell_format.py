"""Formatting of a cell by black, as the person's project configures it."""

import ast
import sys
from pathlib import Path
from typing import Any

import black
from black.mode import TargetVersion
from black.report import NothingChanged
from IPython.core.inputtransformer2 import TransformerManager

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def format_cell(code: str, cwd: str) -> dict[str, Any]:
    """Return MRP's `formatted`, `changed` and, if the cell is not Python, `error`.

    The cell ends in a newline if it did before.
    """
    if not code.strip():
        return {"formatted": code, "changed": False}
    end = "\n" if code.endswith("\n") else ""
    newline = "\r\n" if "\r\n" in code else "\n"
    source = code.replace("\r\n", "\n")
    try:
        formatted = black.format_cell(source, fast=False, mode=_mode(cwd))
    except NothingChanged:  # which a cell that black cannot read comes to as well
        fault = _syntax_error(source)
        return {"formatted": code, "changed": False, **({} if fault is None else {"error": fault})}
    except Exception as error:  # of many kinds, most of them for what is no Python
        fault = _syntax_error(source) or str(error).partition("\n")[0] or type(error).__name__
        return {"formatted": code, "changed": False, "error": fault}
    formatted = (formatted.rstrip("\n") + end).replace("\n", newline)
    return {"formatted": formatted, "changed": formatted != code}


def _syntax_error(source: str) -> str | None:
    """Return what is wrong with a cell, None if nothing is or if it is another language's."""
    if source.lstrip().startswith("%%"):
        return None
    try:
        compile(
            TransformerManager().transform_cell(source),
            "<cell>",
            "exec",
            ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL, or too deep
        return str(error) or type(error).__name__
    return None


def _mode(cwd: str) -> black.Mode:
    """Return black's mode: what ``[tool.black]`` of the project that `cwd` is in says, as far as it is about style."""
    try:
        options = _options(Path(cwd))
        return black.Mode(
            is_ipynb=True,
            line_length=int(options.get("line-length", black.Mode().line_length)),
            string_normalization=not options.get("skip-string-normalization", False),
            magic_trailing_comma=not options.get("skip-magic-trailing-comma", False),
            preview=bool(options.get("preview", False)),
            target_versions={TargetVersion[name.upper()] for name in options.get("target-version", ())},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"the settings of black are not heeded: {error!r}", file=sys.stderr)  # into the runtime's log
        return black.Mode(is_ipynb=True)


def _options(folder: Path) -> dict[str, Any]:
    """Return the table of the nearest pyproject.toml that has one, up to the root of the repository.

    Black's own search remembers what it has found, and would not see a change.
    """
    for place in (folder, *folder.parents):
        try:
            tables = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            tables = {}
        options: dict[str, Any] = tables.get("tool", {}).get("black", {})
        if options or (place / ".git").exists():
            return options
    return {}
