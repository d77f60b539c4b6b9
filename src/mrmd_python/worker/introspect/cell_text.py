"""Reads the code before the cursor without a parser: code is rarely valid Python while the user types."""

import re
from typing import Any, Iterator, NamedTuple, Optional

_PIECE = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<prefix>\b[rRbBuUfFtT]{1,2})?(?P<quote>\"{3}|'{3}|\"|')
    |(?P<open>[(\[{])|(?P<close>[)\]}])""",
    re.VERBOSE,
)
_STRING_ENDS = {
    quote: re.compile(rf"(?:\\.|[^\\{'' if len(quote) == 3 else chr(92) + 'n'}])*?(?:{quote}|{end})", re.DOTALL)
    for quote, end in (('"""', r"(?!)"), ("'''", r"(?!)"), ('"', r"(?=\n)"), ("'", r"(?=\n)"))
}
_NAME = r"[^\W\d]\w*"
_SUBSCRIPT = r"\[\s*(?:-?\d+|'[^'\n\\]*'|\"[^\"\n\\]*\")\s*\]"
_PATH = re.compile(rf"(?<![\w.)\]}}\"'])(?P<root>{_NAME})(?P<steps>(?:\s*\.\s*{_NAME}|{_SUBSCRIPT})*)\s*\Z")
_AFTER_CALL = re.compile(rf"(?P<close>\))(?P<steps>(?:\s*\.\s*{_NAME}|{_SUBSCRIPT})*)\s*\Z")
_STEP = re.compile(rf"\.\s*({_NAME})|\[\s*(?:(-?\d+)|'([^']*)'|\"([^\"]*)\")\s*\]")
_WORD = re.compile(r"\w*\Z")
_MAX_PATH_LENGTH = 400

_IMPORTS = re.compile(r"(?:^|;)[ \t]*import[ \t]+([^\n;#]+)", re.MULTILINE)
_FROM_IMPORTS = re.compile(r"(?:^|;)[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(?:\(([^)#]*)|([^\n;#(]+))", re.MULTILINE)
_IMPORTED = re.compile(r"(?:\A|,)\s*([\w.]+)(?:\s+as\s+(\w+))?\s*(?=,|\Z)")
_FROM = re.compile(r"(?:^|;)[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(?:\([^)]*|[^\n;(]*)\Z", re.MULTILINE)
_IMPORT = re.compile(
    r"(?:^|;)[ \t]*(?:from|import(?:[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?[ \t]*,)*)[ \t]+((?:\w+\.)*)\w*\Z", re.MULTILINE
)

_TARGETS = r"((?:\w+[ \t]*,[ \t]*)*\w+)"
_BINDINGS = (
    (re.compile(rf"^[ \t]*{_TARGETS}[ \t]*(?::[^=\n]*)?=(?!=)", re.MULTILINE), "variable"),
    (re.compile(rf"\b(?:for|as)[ \t]+\(?{_TARGETS}"), "variable"),
    (re.compile(r"\b(\w+)[ \t]*:="), "variable"),
    (re.compile(r"\bdef[ \t]+\w+[ \t]*\(([^()]*)"), "variable"),
    (re.compile(r"\bdef[ \t]+(\w+)"), "function"),
    (re.compile(r"\bclass[ \t]+(\w+)"), "class"),
    (re.compile(r"^[ \t]*import[ \t]+(\w[\w, \t]*)", re.MULTILINE), "module"),
    (re.compile(r"^[ \t]*from[ \t]+[\w.]+[ \t]+import[ \t]+\(?([\w, \t\n]+)", re.MULTILINE), "variable"),
)
_BOUND_NAME = re.compile(r"(?:\A|,)\s*\*{0,2}([^\W\d]\w*)(?!\w*[ \t]+as\b)")
# Cell magics whose body is not Python, or is run by another process.
_FOREIGN_CELLS = frozenset(
    {"!", "HTML", "R", "SVG", "bash", "cmd", "cython", "file", "html", "javascript", "js", "latex", "markdown", "perl"}
    | {"pypy", "python", "python2", "python3", "ruby", "script", "sh", "sql", "svg", "sx", "system", "writefile"}
)


class OpenString(NamedTuple):
    """A string literal that the cursor is in."""

    start: int  # the index of its first character, after the quote
    prefix: str  # such as ``f`` or ``rb``, in lower case
    quote: str


class Scan(NamedTuple):
    """What is open at the end of a text."""

    in_comment: bool
    string: Optional[OpenString]
    brackets: "tuple[int, ...]"  # the indexes of the open brackets, innermost last
    closed: Optional[int]  # the index of the bracket that opened the pair closed last


class DottedPath(NamedTuple):
    """A dotted name with calls and constant subscripts, such as ``a.b["c"][0].d(e).f``."""

    start: int
    root: str
    # Pairs: ``.`` and a name, ``[`` and a key, or ``(`` and None for a call with any arguments.
    steps: "tuple[tuple[str, Any], ...]"


def scan(text: str) -> Scan:
    """Return what is open at the end of `text`."""
    brackets: "list[int]" = []
    closed: Optional[int] = None
    position = 0
    while True:
        piece = _PIECE.search(text, position)
        if piece is None:
            return Scan(False, None, tuple(brackets), closed)
        position = piece.end()
        if piece["comment"] is not None:
            if position == len(text):
                return Scan(True, None, tuple(brackets), closed)
        elif piece["open"] is not None:
            brackets.append(piece.start())
        elif piece["close"] is not None:
            if brackets:
                closed = brackets.pop()
        else:
            end = _STRING_ENDS[piece["quote"]].match(text, position)
            if end is None:
                string = OpenString(position, (piece["prefix"] or "").lower(), piece["quote"])
                return Scan(False, string, tuple(brackets), closed)
            position = end.end()


def field_start(text: str, string: OpenString) -> Optional[int]:
    """Return the index of the expression that is open at the end of `text`, in an f-string or t-string, or None."""
    if not {"f", "t"} & set(string.prefix):
        return None
    opened: "list[int]" = []
    position = string.start
    while position < len(text):
        if text[position] == "{":
            if not opened and text[position + 1 : position + 2] == "{":
                position += 1
            else:
                opened.append(position + 1)
        elif text[position] == "}" and opened:
            opened.pop()
        position += 1
    return opened[0] if opened else None


def word_before(text: str) -> str:
    """Return the part of a name at the end of `text`, or ""."""
    match = _WORD.search(text, max(0, len(text) - _MAX_PATH_LENGTH))
    assert match is not None
    return match[0]


def path_before(text: str, calls: int = 20) -> Optional[DottedPath]:
    """Return the path at the end of `text`, with up to `calls` calls, or None."""
    start = max(0, len(text) - _MAX_PATH_LENGTH)
    match = _PATH.search(text, start)
    if match is not None:
        return DottedPath(match.start(), match["root"], _steps(match["steps"]))
    match = _AFTER_CALL.search(text, start)
    if match is None or not calls:
        return None
    opened = scan(text[: match.end("close")]).closed
    called = path_before(text[:opened], calls - 1) if opened is not None else None
    if called is None:
        return None
    return DottedPath(called.start, called.root, (*called.steps, ("(", None), *_steps(match["steps"])))


def _steps(text: str) -> "tuple[tuple[str, Any], ...]":
    return tuple(
        (".", name) if name else ("[", int(number) if number else single or double)
        for name, number, single, double in _STEP.findall(text)
    )


def imported_from(text: str) -> Optional[str]:
    """Return the module of a ``from ... import`` that is open at the end of `text`, or None."""
    found = _FROM.search(text)
    return None if found is None else found[1]


def imported_package(text: str) -> Optional[str]:
    """Return the package ("" at top level) of the module name that an import at the end of `text` has, or None."""
    found = _IMPORT.search(text)
    return None if found is None else found[1].rstrip(".")


def imports_in(code: str) -> "Iterator[tuple[str, str, str]]":
    """Yield each name that an import in `code` binds, its module, and the imported member ("" for the module)."""
    for statement in _IMPORTS.finditer(code):
        for module, alias in _IMPORTED.findall(statement[1]):
            first = module.partition(".")[0]
            yield (alias, module, "") if alias else (first, first, "")
    for statement in _FROM_IMPORTS.finditer(code):
        for member, alias in _IMPORTED.findall(statement[2] or statement[3] or ""):
            yield alias or member, statement[1], member


def bound_names(code: str) -> "dict[str, str]":
    """Return the names that `code` binds, with MRP's kinds. The code may be incomplete."""
    found: "dict[str, str]" = {}
    for pattern, kind in _BINDINGS:
        for binding in pattern.finditer(code):
            found.update((name, kind) for name in _BOUND_NAME.findall(binding[1]))
    return found


def parameters_in(code: str, function: str) -> "list[str]":
    """Return the parameter names of a function that `code` defines."""
    signatures = re.findall(rf"\bdef[ \t]+{function}[ \t]*\(([^()]*)", code)
    return _BOUND_NAME.findall(signatures[-1]) if signatures else []


def is_foreign(text: str) -> bool:
    """Return whether `text` ends in the body of a cell magic that is not Python, or not run in this process."""
    first, newline, _ = text.partition("\n")
    name = re.match(r"%%(!|\w+)", first)
    return bool(newline) and name is not None and name[1] in _FOREIGN_CELLS


def without_magics(code: str) -> str:
    """Return `code` with IPython's syntax replaced by Python or blanks of the same length."""
    return re.sub(r"^[ \t]*(%%?\w*|!)[^\n]*", _masked, code, flags=re.MULTILINE) if re.search("[%!]", code) else code


def _masked(line: "re.Match[str]") -> str:
    sign = line[1]
    rest = line[0][line.end(1) - line.start() :]
    if sign == "!" or sign.startswith("%%"):
        return " " * len(line[0])
    indent = line[0][: line.start(1) - line.start()]
    # "%time f(x)" becomes "_   =f(x)": the rest of most line magics is Python, and must keep its position.
    return indent + ("_" + " " * (len(sign) - 1) + "=" + rest[1:] if rest else " " * len(sign))
