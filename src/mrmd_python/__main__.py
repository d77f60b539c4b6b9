"""``python -m mrmd_python``, or ``python .../mrmd_python`` as services run it, is the command ``mrmd-python``."""

import sys
from pathlib import Path

if not __package__:
    # Python put this directory first, but its modules are not top-level ones. The one above the package goes last, for
    # a source tree that is not installed.
    sys.path[:1] = []
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from mrmd_python.cli.main import main

main()
