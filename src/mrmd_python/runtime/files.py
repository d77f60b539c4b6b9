"""The files of a user's runtimes, below ``~/.mrmd`` or ``MRMD_HOME``: their paths, and how they are written."""

import errno
import os
import pwd
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.links import open_file
from mrmd_python.runtime.locks import is_claimed, locked
from mrmd_python.runtime.validate import is_id

_DIRECTORIES = ("runtimes", "env", "logs", "locks", "ports", "tokens")
_KEPT_LOGS = 50
_PART_PREFIX_LENGTH = len(".mrmd-01234567-")


class Home(NamedTuple):
    """The directory that holds the registry, captured environments, logs and locks."""

    root: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Home":
        """Return the home that an environment selects.

        Raises:
            ServiceError: it names none, and the user has no home directory.
        """
        named = environ.get("MRMD_HOME")
        return cls(Path(named).absolute() if named else user_home() / ".mrmd")

    def record(self, runtime_id: str) -> Path:
        """Return the registry file of a runtime."""
        return self.root / "runtimes" / f"{runtime_id}.json"

    def record_aside(self, runtime_id: str) -> Path:
        """Return where the registry file of a daemon is while the daemon restarts."""
        return self.root / "runtimes" / f"{runtime_id}.restart"

    def failure(self, runtime_id: str) -> Path:
        """Return the file that says how often and why a runtime has failed to start (`failures`)."""
        return self.root / "runtimes" / f"{runtime_id}.failed"

    def environment(self, runtime_id: str) -> Path:
        """Return the file with a runtime's captured environment."""
        return self.root / "env" / f"{runtime_id}.env"

    def log(self, runtime_id: str) -> Path:
        """Return the log file of a runtime whose log is not in the journal."""
        return self.root / "logs" / f"{runtime_id}.log"

    def remove_old_logs(self) -> None:
        """Remove the logs of runtimes that cannot be started again, except the newest."""
        ended = [
            log
            for log in (self.root / "logs").glob("*.log")
            if not (self.record(log.stem).exists() or self.environment(log.stem).exists())
        ]
        for log in sorted(ended, key=lambda log: log.stat().st_mtime, reverse=True)[_KEPT_LOGS:]:
            for path in (log, log.with_name(f"{log.name}.1")):  # the older half is in the latter
                path.unlink(missing_ok=True)

    def port(self, runtime_id: str) -> Path:
        """Return the file with the last port of a runtime, which it uses again if it is free."""
        return self.root / "ports" / runtime_id

    def last_port(self, runtime_id: str) -> int | None:
        """Return the last port of a runtime, if known."""
        try:
            port = int(read_file(self.port(runtime_id)))
        except (OSError, ValueError):
            return None
        return port if 0 < port < 2**16 else None

    def token(self, runtime_id: str) -> Path:
        """Return the file with the token that clients of a runtime must send."""
        return self.root / "tokens" / runtime_id

    def assets(self, runtime_id: str) -> Path:
        """Return the directory for what code displays, if the one in the working directory cannot be used."""
        return self.root / "assets" / runtime_id

    def lock(self, runtime_id: str) -> Path:
        """Return the file that is locked while a runtime is started, restarted or killed."""
        return self.root / "locks" / f"{runtime_id}.lock"

    def claim(self, runtime_id: str) -> Path:
        """Return the file that a runtime's server keeps locked while it lives."""
        return self.root / "locks" / f"{runtime_id}.claim"

    def ids_with_environment(self) -> set[str]:
        """Return the ids with a captured environment. A stopped instance of the template unit has no other file."""
        return {path.stem for path in (self.root / "env").glob("*.env") if is_id(path.stem)}

    def claimed_ids(self, *, apart_from: Container[str]) -> set[str]:
        """Return the ids whose claims live processes hold. Those of `apart_from` are neither returned nor touched."""
        claims = (self.root / "locks").glob("*.claim")
        return {path.stem for path in claims if path.stem not in apart_from and is_id(path.stem) and is_claimed(path)}

    def remove_start_files(self, runtime_id: str) -> None:
        """Remove the files that a runtime would be started again with: environment, port and token."""
        for path in self._start_files(runtime_id):
            remove(path)

    def files(self, runtime_id: str) -> list[Path]:
        """Return the files that `--kill` removes, besides locks; not all exist."""
        state = (self.record(runtime_id), self.record_aside(runtime_id), self.failure(runtime_id))
        return [*state, *self._start_files(runtime_id)]

    def check_spelling(self, runtime_id: str) -> None:
        """Check that no runtime has this id in other letters, on a disk that ignores case (macOS).

        Raises:
            ServiceError: there is one, and its files have the names that this one's would have.
        """
        for path in (*self.files(runtime_id), self.claim(runtime_id)):
            with suppress(FileNotFoundError):
                if path.samefile(path.with_name(path.name.swapcase())):
                    names = os.listdir(path.parent)
                    other = next((name for name in names if name.casefold() == path.name.casefold()), path.name)
                    if other != path.name:
                        found = other.removesuffix(path.suffix) if path.suffix else other
                        raise ServiceError(
                            f"{runtime_id!r} would have the files of the runtime {found!r}: this disk does not tell "
                            f"upper from lower case; use {found!r} or another id"
                        )

    def remove_files(self, runtime_ids: Iterable[str], is_removable: Callable[[str], bool]) -> Iterator[str]:
        """Remove the record and the start files of the ids that are removable while they are locked; yield them.

        An id with partial files of killed writers is left to `remove`, which has to list the directories to find them.
        """
        parts = {name[:_PART_PREFIX_LENGTH] for directory in _DIRECTORIES for name in os.listdir(self.root / directory)}
        for runtime_id in runtime_ids:
            paths = self.files(runtime_id)
            if parts.isdisjoint(map(_part_prefix, paths)):
                with locked(self.lock(runtime_id)):
                    if is_removable(runtime_id):
                        for path in paths:
                            path.unlink(missing_ok=True)
                        yield runtime_id

    def _start_files(self, runtime_id: str) -> tuple[Path, ...]:
        return self.environment(runtime_id), self.port(runtime_id), self.token(runtime_id)

    def check_owner(self) -> None:
        """Check that the home is this user's: its files say which processes `--kill` ends.

        Raises:
            ServiceError: it is another user's or, for root, would be created in another user's directory.
        """
        existing = next(path for path in (self.root, *self.root.parents) if os.path.lexists(path))
        if existing != self.root and os.geteuid() != 0:
            return
        for found in (existing.lstat(), existing.stat()):
            if found.st_uid != os.geteuid():
                raise ServiceError(
                    f"{existing} belongs to {user_name(found.st_uid)}, and this runs as {user_name(os.geteuid())}: "
                    "set HOME (`sudo -H` does) or MRMD_HOME to a directory of your own"
                )

    def prepare(self) -> None:
        """Create the directories, with mode 0700.

        Raises:
            ServiceError: they cannot be created or written to, or are another user's.
        """
        self.check_owner()
        try:
            for directory in (
                self.root,
                *(self.root / name for name in _DIRECTORIES),
            ):
                make_directory(directory)
                # The user may have put the home on another disk.
                _make_private(directory, 0 if directory == self.root else os.O_NOFOLLOW)
                if not os.access(directory, os.W_OK | os.X_OK):
                    code = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
                    raise OSError(code, os.strerror(code), str(directory))
        except OSError as error:
            raise ServiceError(
                f"cannot write to {error.filename}: {error.strerror}. "
                "Make it writable, or set MRMD_HOME to another directory"
            ) from None


def user_home() -> Path:
    """Return the user's home directory.

    Raises:
        ServiceError: HOME is not set, and the user is not in the password database, as in a container with any uid.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise ServiceError(
            f"HOME is not set, and the user {os.getuid()} is not in the password database: set HOME or MRMD_HOME"
        ) from None


def _make_private(directory: Path, flags: int) -> None:
    """Set the mode of a directory to 0700."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o777 != 0o700:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """Return the content of a file in the home.

    Raises:
        OSError: there is none, it cannot be read, or it is a link.
    """
    with open(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read()


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, all with mode 0700 whatever the umask."""
    for directory in reversed((path, *path.parents)):
        if not directory.is_dir():
            directory.mkdir(mode=0o700, exist_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` with a file of mode 0600, so that a reader sees either the old or the new content, never a part.

    If the disk is full or read-only, this raises OSError and `path` keeps its old content.
    """
    part = path.parent / f"{_part_prefix(path)}{os.urandom(8).hex()}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def remove(path: Path) -> None:
    """Remove a file written by `write_atomically`, and partial files of killed writers. No writer may be active."""
    path.unlink(missing_ok=True)
    prefix = _part_prefix(path)
    for name in os.listdir(path.parent):  # glob() takes several times as long
        if name.startswith(prefix):
            (path.parent / name).unlink(missing_ok=True)


def user_name(uid: int) -> str:
    """Return the login name of a user, or the uid if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _part_prefix(path: Path) -> str:
    # A checksum, because the name itself may already have the maximum length.
    return f".mrmd-{crc32(path.name.encode()):08x}-"
