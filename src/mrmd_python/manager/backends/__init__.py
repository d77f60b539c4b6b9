"""Choosing the backend for a new runtime, and finding the backend of a running one."""

import os
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

from mrmd_python.manager import BACKENDS, FOREGROUND
from mrmd_python.manager.backends.base import Backend, NotInstalledError, UnusableBackendError
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record


def load(name: str) -> Backend:
    """Return the backend of a name. Modules are imported only when needed: commands should start fast.

    Raises:
        ServiceError: there is no such backend; the record may be of a newer version.
    """
    if name not in (*BACKENDS, FOREGROUND):
        raise ServiceError(f"unknown backend {name!r}; was this runtime started by a newer version of mrmd-python?")
    backend: Backend = import_module(f"{__name__}.{name}").BACKEND()
    return backend


def all_backends() -> Iterator[Backend]:
    """Yield the backends, in order of preference."""
    return map(load, BACKENDS)


class Choice(NamedTuple):
    """The backend for a new runtime."""

    backend: Backend
    # A note for the user if a better backend does not work.
    note: str | None = None
    # The backends that may be tried instead; none if the user has chosen.
    others: tuple[str, ...] = ()

    def instead(self, error: UnusableBackendError) -> "Choice":
        """Return the choice after a start has shown that this backend does not work.

        Raises:
            ServiceError: there is no other one.
        """
        if not self.others:
            raise ServiceError(f"{error}; use --backend fork") from None
        return _best(self.others, f"not {self.backend.noun}: {error}")


def choose(name: str | None, runtime_id: str) -> Choice:
    """Return the backend of a name or, if None, the one that has this id, or the best one that works here.

    Raises:
        ServiceError: the named backend does not work here, nor does the one that has this id.
    """
    name = name or os.environ.get("MRMD_BACKEND") or None
    if name is not None:
        return Choice(_named(name))
    installed = next((backend for backend in all_backends() if backend.is_installed(runtime_id)), None)
    if installed is None:
        return _best(BACKENDS, None)
    try:
        installed.detect()
    except ServiceError as error:
        raise ServiceError(
            f"{runtime_id!r} is {installed.noun}, and {error}; to make it a daemon instead: --backend fork"
        ) from None
    return Choice(installed)


def _named(name: str) -> Backend:
    if name not in BACKENDS:
        raise ServiceError(f"MRMD_BACKEND is {name!r}: it must be one of {', '.join(BACKENDS)}")
    backend = load(name)
    try:
        backend.detect()
    except ServiceError as error:
        raise ServiceError(f"the {name} backend is not available: {error}; use --backend fork") from None
    return backend


def _best(names: tuple[str, ...], note: str | None) -> Choice:
    """Return the first of these backends that works; `note` says why an earlier one does not."""
    for index, backend in enumerate(map(load, names)):
        if not backend.automatic:
            continue
        try:
            backend.detect()
        except NotInstalledError:
            continue
        except ServiceError as error:
            note = note or f"not {backend.noun}: {error}"
            continue
        return Choice(backend, note and f"started as {backend.noun}, {note}", names[index + 1 :])
    raise ServiceError("no backend works on this machine")


def backend_of(runtime_id: str, record: Record | None) -> Backend:
    """Return the backend of a runtime, from its record or from the service managers.

    Raises:
        ServiceError: the record names an unknown backend.
    """
    if record is not None:
        return load(record.backend)
    return next((backend for backend in all_backends() if backend.knows(runtime_id)), load(FOREGROUND))


def is_out_of_reach(home: Home, record: Record) -> bool:
    """Return whether a runtime lives, or may live, where it cannot be managed from here."""
    try:
        remote = load(record.backend).remote
    except ServiceError:  # a backend of a newer version
        remote = False
    return not remote and registry.lives_elsewhere(home, record)
