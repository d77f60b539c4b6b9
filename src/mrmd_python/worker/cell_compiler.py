"""Compile the body of a cell magic as a part of its cell: with the cell's file name and line numbers."""

import ast
import linecache
import sys
from types import FrameType
from typing import Any, Optional
from zlib import crc32

from IPython.core.compilerop import CachingCompiler

# The file names that IPython gives to the code of %%time and %%timeit, and to code that it only parses.
_IPYTHON_NAMES = frozenset({"<timed exec>", "<timed eval>", "<magic-timeit>", "<unknown>"})
_CELL_MAGIC = "get_ipython().run_cell_magic("


class CellCompiler(CachingCompiler):  # type: ignore[misc]
    """Compiles the code of one cell. A cell magic may run another, so a cell may have several bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.begin_cell()

    def begin_cell(self) -> None:
        """Clear what is stored about the last cell."""
        # The file name of the running cell, "" until it is compiled.
        self.cell_file = ""
        # The number of the cell's lines above each body. Keys are stripped bodies: magics add and drop white space.
        self._lines_above: "dict[str, int]" = {}

    @property
    def has_body(self) -> bool:
        """Whether the cell is a cell magic."""
        return bool(self._lines_above)

    def is_body(self, code: object) -> bool:
        """Return whether `code` is the body of a cell magic in the running cell."""
        return self.has_body and isinstance(code, str) and code.strip() in self._lines_above

    def _lines_above_first(self, code: str) -> int:
        if self.is_body(code):
            return self._lines_above[code.strip()]
        return code[: len(code) - len(code.lstrip())].count("\n")

    def record_transformed(self, code: str, transformed: str) -> int:
        """Record how IPython transformed `code`, which may call a cell magic or be the body of one.

        Returns:
            The number of lines above the first line that is not empty.
        """
        above = self._lines_above_first(code)
        if transformed.startswith(_CELL_MAGIC):
            body = _body(transformed)
            if body.strip():
                self._lines_above[body.strip()] = above + 1 + self._lines_above_first(body)
        elif self.cell_file and self.is_body(code):
            source = linecache.getlines(self.cell_file)[:above]
            self._set_source(source + transformed.splitlines(keepends=True))
        return above

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        """Return a cell's file name as IPython does, but with a checksum that needs no OpenSSL, which takes 4 MB."""
        return f"<ipython-input-{number}-{crc32(transformed_code.encode(errors='replace')):08x}>"

    def cache(self, transformed_code: str, number: int = 0, raw_code: Optional[str] = None) -> str:
        """Return the file name for a cell's code, and store its lines for tracebacks."""
        if self.cell_file and self.is_body(raw_code):
            return self.cell_file
        name: str = super().cache(transformed_code, number, raw_code)
        if not self.cell_file:
            self.cell_file = name
            if self.has_body and raw_code is not None:
                self._set_source([f"{line}\n" for line in raw_code.splitlines()])
        return name

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> Any:
        """Parse code."""
        return super().ast_parse(source, self._file(filename, sys._getframe(1)), symbol)

    def __call__(self, source: Any, filename: str, *args: Any, **options: Any) -> Any:
        """Compile code."""
        return super().__call__(source, self._file(filename, sys._getframe(1)), *args, **options)

    def _file(self, filename: str, caller: FrameType) -> str:
        """Return the cell's file name if a cell magic is compiling its body, else `filename`."""
        if self.has_body and filename in _IPYTHON_NAMES and self.is_body(caller.f_locals.get("cell")):
            return self.cell_file
        return filename

    def _set_source(self, lines: "list[str]") -> None:
        linecache.cache[self.cell_file] = (sum(map(len, lines)), None, lines, self.cell_file)


def _body(transformed: str) -> str:
    """Return the body argument of a call of run_cell_magic()."""
    statement = ast.parse(transformed).body[0]
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    return str(ast.literal_eval(statement.value.args[2]))
