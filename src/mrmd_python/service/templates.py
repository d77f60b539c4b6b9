"""Where the unit and the plist that runtimes are rendered from lie."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "templates"
_TREE = Path(__file__).parents[3]


def read(folder: str, name: str) -> str:
    """Return the text of a template: packed into the wheel, or `folder` at the top of the source tree."""
    packaged = _PACKAGED / name
    return (packaged if packaged.exists() else _TREE / folder / name).read_text(encoding="utf-8")
