"""A live Python runtime for notebook editors, run as a real user service."""

TYPE_CHECKING = False
if TYPE_CHECKING:  # PYTHONPATH may have another module named typing, and the command imports this before its own
    from mrmd_python.app import create_app
    from mrmd_python.clients.client import connect

__version__ = "0.4.10"
__all__ = ["__version__", "connect", "create_app"]


def __getattr__(name: str) -> object:
    """Import a function when it is first used: the command line should not wait for its imports."""
    if name == "create_app":
        from mrmd_python.app import create_app

        return create_app
    if name == "connect":
        from mrmd_python.clients.client import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
