"""The start of the process: ``PYTHON -E .../mrmd_python/analysis``, below a reaper."""

import sys
from pathlib import Path

# As for the server: this folder stood first, and the package's own goes last.
sys.path[:1] = []
sys.path.append(str(Path(__file__).resolve().parents[2]))

from mrmd_python.analysis.main import main  # noqa: E402

main()
