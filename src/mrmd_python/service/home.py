"""The files of all runtimes of one user: ``~/.mrmd``, or what ``MRMD_HOME`` names."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.runtime_id import is_id


@dataclass(frozen=True)
class Home:
    """Where the registry, the captured environments, the logs and the locks lie."""

    root: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Home":
        """Return the home that an environment names."""
        named = environ.get("MRMD_HOME")
        return cls(Path(named).absolute() if named else Path.home() / ".mrmd")

    def record(self, runtime_id: str) -> Path:
        """Return the registry file of a runtime."""
        return self.root / "runtimes" / f"{runtime_id}.json"

    def environment(self, runtime_id: str) -> Path:
        """Return the file of a runtime's captured environment."""
        return self.root / "env" / f"{runtime_id}.env"

    def log(self, runtime_id: str) -> Path:
        """Return the log file of a runtime that no journal keeps the log of."""
        return self.root / "logs" / f"{runtime_id}.log"

    def port(self, runtime_id: str) -> Path:
        """Return the file that holds the port a runtime was last on, which it takes again if it can."""
        return self.root / "ports" / runtime_id

    def last_port(self, runtime_id: str) -> int | None:
        """Return the port that a runtime was last on, if it is known."""
        try:
            port = int(self.port(runtime_id).read_text())
        except (OSError, ValueError):
            return None
        return port if 0 < port < 2**16 else None

    def token(self, runtime_id: str) -> Path:
        """Return the file of the token that a runtime's clients must show."""
        return self.root / "tokens" / runtime_id

    def lock(self, runtime_id: str) -> Path:
        """Return the file that starting and killing a runtime lock."""
        return self.root / "locks" / f"{runtime_id}.lock"

    def claim(self, runtime_id: str) -> Path:
        """Return the file that a runtime's server keeps locked for as long as it lives."""
        return self.root / "locks" / f"{runtime_id}.claim"

    def kept_ids(self) -> set[str]:
        """Return the ids that an environment is kept of; a stopped instance of the template has nothing else."""
        return {path.stem for path in (self.root / "env").glob("*.env") if is_id(path.stem)}

    def forget_start(self, runtime_id: str) -> None:
        """Remove what a runtime would be started again with."""
        for path in (self.environment(runtime_id), self.port(runtime_id), self.token(runtime_id)):
            remove(path)

    def prepare(self) -> None:
        """Make the folders, for their owner alone.

        Raises:
            ServiceError: they cannot be made or written to.
        """
        try:
            for folder in (
                self.root,
                *(self.root / name for name in ("runtimes", "env", "logs", "locks", "ports", "tokens")),
            ):
                make_folder(folder)
                if folder.stat().st_mode & 0o777 != 0o700:
                    folder.chmod(0o700)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(13, "Permission denied", str(folder))
        except OSError as error:
            raise ServiceError(
                f"cannot write to {error.filename}: {error.strerror}. "
                "Make it writable, or name another folder in MRMD_HOME"
            ) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, all for their owner alone, whatever the umask is.

    Raises:
        OSError: one of them cannot be made.
    """
    for folder in reversed((path, *path.parents)):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by a file of mode 0600 with `content`, so that a reader sees the old or the new, never a part.

    Raises:
        OSError: the disk is full or read-only; `path` is as it was.
    """
    part = path.parent / f"{_prefix_of_parts(path)}{os.urandom(8).hex()}"
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
    """Remove a file that `write_atomically` writes, and what a writer left of it that was killed meanwhile.

    Nobody may be about to write it.
    """
    path.unlink(missing_ok=True)
    for part in path.parent.glob(f"{_prefix_of_parts(path)}*"):
        part.unlink(missing_ok=True)


def _prefix_of_parts(path: Path) -> str:
    # Not the name itself, to which nothing can be added if it is as long as a name may be.
    return f".mrmd-{crc32(path.name.encode()):08x}-"
