"""Tracebacks for users: only the frames of their code, and the position in the cell."""

import linecache
import sys
from types import FrameType, TracebackType
from typing import Optional

from .cell_compiler import CellCompiler


def user_frames(entry: Optional[TracebackType], compiler: CellCompiler) -> Optional[TracebackType]:
    """Return a traceback without the frames of IPython and of this package.

    If the error was raised in the body of a cell magic, the traceback begins in the body.
    """
    entry = _without_internal(entry)
    if compiler.has_body:
        magic = _next_in(compiler.cell_file, entry)
        body = magic and _next_in(compiler.cell_file, magic.tb_next)
        return body or entry
    return entry


def without_debugger(entry: Optional[TracebackType]) -> Optional[TracebackType]:
    """Return a traceback without the debugger's frames and those they call."""
    current = entry
    while current is not None and current.tb_next is not None:
        if current.tb_next.tb_frame.f_globals.get("__name__") in ("bdb", "pdb"):
            current.tb_next = None
        current = current.tb_next
    return entry


def position(error: BaseException, compiler: CellCompiler) -> "tuple[Optional[int], Optional[int]]":
    """Return the 1-based line and column in the cell that `error` points to, each None if unknown."""
    if isinstance(error, SyntaxError) and error.filename == compiler.cell_file:
        return error.lineno, error.offset
    in_cell = _last_in(compiler.cell_file, error.__traceback__)
    if in_cell is None:
        # It was caught before it reached the cell, which is still running, or the cell did not compile.
        line = _running_line(compiler.cell_file)
        if line is None and isinstance(error, SyntaxError):
            return error.lineno, error.offset
        return line, None
    if compiler.has_body:
        # %%prun lets Python compile the body.
        profiled = _next_in("<string>", in_cell.tb_next)
        if profiled is not None and profiled.tb_frame.f_globals is in_cell.tb_frame.f_globals:
            return profiled.tb_lineno, None
    return in_cell.tb_lineno, _column(in_cell)


def _running_line(cell_file: str) -> Optional[int]:
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != cell_file:
        frame = frame.f_back
    return None if frame is None else frame.f_lineno


def _column(entry: TracebackType) -> Optional[int]:
    if sys.version_info < (3, 11):
        return None
    code = entry.tb_frame.f_code
    start = list(code.co_positions())[entry.tb_lasti // 2][2]
    if start is None:
        return None
    line = linecache.getline(code.co_filename, entry.tb_lineno).encode()
    return len(line[:start].decode(errors="replace")) + 1


def _next_in(file: str, entry: Optional[TracebackType]) -> Optional[TracebackType]:
    while entry is not None and entry.tb_frame.f_code.co_filename != file:
        entry = entry.tb_next
    return entry


def _last_in(file: str, entry: Optional[TracebackType]) -> Optional[TracebackType]:
    found = None
    while entry is not None:
        if entry.tb_frame.f_code.co_filename == file:
            found = entry
        entry = entry.tb_next
    return found


def _without_internal(entry: Optional[TracebackType]) -> Optional[TracebackType]:
    while entry is not None and _is_internal(entry):
        entry = entry.tb_next
    kept = entry
    while kept is not None:
        while kept.tb_next is not None and _is_internal(kept.tb_next):
            kept.tb_next = kept.tb_next.tb_next
        kept = kept.tb_next
    return entry


def _is_internal(entry: TracebackType) -> bool:
    package = str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0]
    return package in ("IPython", __package__)
