"""The directories that the files of displays are written to and served from."""

import errno
import itertools
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from mrmd_python.runtime.display_files import file_name
from mrmd_python.runtime.files import make_directory
from mrmd_python.server.file_thread import FileThread

_Result = TypeVar("_Result")

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class AssetDirectories:
    """The directories that assets of this runtime were written to. Assets may be read only from these.

    A directory that the user or a client names is used as it is. The default one in the working directory may come from
    another user, or with a repository: it must be this user's own, and no link.
    """

    def __init__(self, url_prefix: str, named: Path | None, cwd: Path, own: Path) -> None:
        """Take the directory that the user names, if any, the working directory, and one that is surely ours."""
        self._url_prefix = url_prefix
        self._in_project = cwd / ".mrmd-assets"
        self._preferred = named or self._in_project
        self._own = own
        self._known = {own: FileThread(), self._preferred: FileThread()}

    def url(self, path: Path) -> str:
        """Return the URL of an asset."""
        return f"{self._url_prefix}/{path.name}"

    async def create(
        self, directory: Path | None, exec_id: str, number: int, extension: str, content: bytes
    ) -> tuple[Path, str | None]:
        """Write a new asset of an execution; return its path, and a note if it is not in the directory it should be in.

        Args:
            directory: the directory, if the execution names one.
            exec_id: the execution, for the name of the file.
            number: the number in that name or, if that file exists, the first one to try.
            extension: the extension of that name.
            content: the content of the file.

        Raises:
            OSError: the directory cannot be written to.
        """
        wanted = directory or self._preferred
        try:
            return await self._call(wanted, partial(self._create, wanted, exec_id, number, extension, content)), None
        except OSError as error:
            if wanted != self._in_project and not isinstance(error, TimeoutError):
                raise
            own, reason = self._own, error.strerror
        path = await self._call(own, partial(self._create, own, exec_id, number, extension, content))
        return path, f"images are saved in {own}: cannot use {wanted}: {reason}"

    async def replace(self, path: Path, content: bytes) -> None:
        """Replace an asset atomically, and change its ETag; on an OSError, the old file stays."""
        await self._call(path.parent, partial(self._replace, path, content))

    async def find(self, name: str) -> Path | None:
        """Return the asset of that name, or None. Links and files outside the directories are not assets."""
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
            return None
        for directory in reversed(list(self._known)):
            try:
                if await self._call(directory, partial(self._is_asset, directory, name)):
                    return directory / name
            except OSError:
                continue
        return None

    async def _call(self, directory: Path, function: Callable[[], _Result]) -> _Result:
        """Make a call in the thread of its directory."""
        thread = self._known.setdefault(directory, FileThread())
        try:
            return await thread.call(function)
        except TimeoutError as error:
            raise TimeoutError(error.errno, error.strerror, str(directory)) from None

    def _create(self, directory: Path, exec_id: str, number: int, extension: str, content: bytes) -> Path:
        with self._opened(directory, create=True) as opened:
            for next_number in itertools.count(number):
                name = file_name(exec_id, next_number, extension)
                try:
                    _write(opened, name, content)
                except FileExistsError:
                    continue
                return directory / name
        raise AssertionError("numbers do not end")

    def _replace(self, path: Path, content: bytes) -> None:
        part = f".{os.urandom(8).hex()}"  # names of assets do not start with a dot
        with self._opened(path.parent, create=True) as opened:
            _write(opened, part, content)
            try:
                # aiohttp's ETag is the modification time, and the kernel gives files written within 10 ms the same one.
                now = time.time_ns()
                os.utime(part, ns=(now, now), dir_fd=opened, follow_symlinks=False)
                os.replace(part, path.name, src_dir_fd=opened, dst_dir_fd=opened)
            except OSError:
                os.unlink(part, dir_fd=opened)
                raise

    def _is_asset(self, directory: Path, name: str) -> bool:
        with self._opened(directory, create=False) as opened:
            return stat.S_ISREG(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode)

    @contextmanager
    def _opened(self, directory: Path, *, create: bool) -> Iterator[int]:
        """Open a directory, and check the one in the working directory.

        Raises:
            OSError: it cannot be used; or an error of the block. Its `filename` is the directory.
        """
        try:
            if create:
                make_directory(directory)
            descriptor = self._open(directory)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(directory)) from None

    def _open(self, directory: Path) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if directory != self._in_project:
            return os.open(directory, flags)
        if directory.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "it is a link")
        descriptor = os.open(directory, flags | os.O_NOFOLLOW)
        try:
            _check_own(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _check_own(directory: int) -> None:
    """Check that a directory is this user's, and that others cannot write to it: older versions let the group.

    Raises:
        OSError: it is another user's.
    """
    found = os.fstat(directory)
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "it belongs to another user")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        os.fchmod(directory, stat.S_IMODE(found.st_mode) & ~_WRITABLE_BY_OTHERS)


def _write(directory: int, name: str, content: bytes) -> None:
    """Write a new file in an open directory; on an OSError, none is left."""
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        os.unlink(name, dir_fd=directory)
        raise
