"""Whether mrmd-python has been upgraded or removed since this server started.

A server goes on with the modules that it has imported, but starts sessions from the files that are installed.
"""

from pathlib import Path

from mrmd_python import __version__

_VERSION_FILE = Path(__file__).resolve().parents[1] / "__init__.py"


def upgrade() -> str | None:
    """Return the sentence for the user if this server's files are gone or of another version, else None."""
    try:
        installed = _VERSION_FILE.read_text(encoding="utf-8")
    except OSError:
        return "mrmd-python was removed since this runtime started; install it again and restart the runtime"
    if f'__version__ = "{__version__}"' in installed:
        return None
    return "mrmd-python was upgraded since this runtime started; restart the runtime"
