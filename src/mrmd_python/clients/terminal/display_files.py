"""Saves what a rich execution displays, as the runtime does for other executions."""

import errno
from pathlib import Path

from mrmd_python.clients.events import Display
from mrmd_python.runtime.display_files import EXTENSIONS, FileContent, file_name
from mrmd_python.runtime.files import make_directory, write_atomically
from mrmd_python.runtime.registry import Record


class DisplayFiles:
    """The files of an execution's displays, in the runtime's directory for them.

    They are numbered, so whoever reads the same execution again writes the same files.
    """

    def __init__(self, record: Record, exec_id: str) -> None:
        self._directory = Path(record.assets_dir or Path(record.cwd, ".mrmd-assets"))
        self._is_default = record.assets_dir is None
        self._exec_id = exec_id
        self._count = 0
        # By id, for the displays that can be updated.
        self._updatable: dict[str, Path] = {}

    def save(self, display: Display, content: FileContent) -> Path:
        """Write the content of a display to its own file, or to that of the display that it updates; return its path.

        Raises:
            OSError: it cannot be written.
        """
        if self._is_default and self._directory.is_symlink():  # it may have come with a repository
            raise NotADirectoryError(errno.ENOTDIR, "it is a link", str(self._directory))
        make_directory(self._directory)
        path = self._updatable.get(display.display_id or "") if display.update else None
        if path is None:
            self._count += 1
            path = self._directory / file_name(self._exec_id, self._count, EXTENSIONS[content.mime_type])
        write_atomically(path, content.data)
        if display.display_id is not None:
            self._updatable[display.display_id] = path
        return path
