"""Formats a cell with black, configured by the user's project."""

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

    The formatted cell ends in a newline only if the cell did.
    """
    if not code.strip():
        return {"formatted": code, "changed": False}
    end = "\n" if code.endswith("\n") else ""
    newline = "\r\n" if "\r\n" in code else "\n"
    source = code.replace("\r\n", "\n")
    try:
        formatted = black.format_cell(source, fast=False, mode=_mode(cwd))
    except NothingChanged:  # also raised for a cell that black cannot parse
        message = _syntax_error(source)
        return {"formatted": code, "changed": False, **({} if message is None else {"error": message})}
    except Exception as error:  # black raises many types, mostly for cells that are not Python
        message = _syntax_error(source) or str(error).partition("\n")[0] or type(error).__name__
        return {"formatted": code, "changed": False, "error": message}
    formatted = (formatted.rstrip("\n") + end).replace("\n", newline)
    return {"formatted": formatted, "changed": formatted != code}


def _syntax_error(source: str) -> str | None:
    """Return the syntax error of a cell, or None if it is correct or in another language."""
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
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL character, or code nested too deeply
        return str(error) or type(error).__name__
    return None


def _mode(cwd: str) -> black.Mode:
    """Return black's mode from the style options in the ``[tool.black]`` table of the project that contains `cwd`."""
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
        print(f"ignoring invalid [tool.black] settings: {error!r}", file=sys.stderr)  # goes to the runtime's log
        return black.Mode(is_ipynb=True)


def _options(directory: Path) -> dict[str, Any]:
    """Return the ``[tool.black]`` table of the nearest pyproject.toml that has one, up to the repository's root.

    Black's own search caches its result and would not notice a change.
    """
    for parent in (directory, *directory.parents):
        try:
            tables = tomllib.loads((parent / "pyproject.toml").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            tables = {}
        options: dict[str, Any] = tables.get("tool", {}).get("black", {})
        if options or (parent / ".git").exists():
            return options
    return {}
