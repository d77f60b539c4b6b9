"""A live Python runtime for notebook editors, run as a real user service."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrmd_python.app import create_app

__version__ = "0.4.10"
__all__ = ["__version__", "create_app"]


def __getattr__(name: str) -> Any:
    """Import `create_app` when it is first used: the command line should not wait for its imports."""
    if name != "create_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mrmd_python.app import create_app

    return create_app
