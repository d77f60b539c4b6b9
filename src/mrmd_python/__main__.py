"""``python -m mrmd_python``, or ``python .../mrmd_python`` as services run it, is the command ``mrmd-python``."""

import sys

if not __package__:
    # Python put this directory first, but its modules are not top-level ones. The one above the package goes last, for
    # a source tree that is not installed.
    import os

    sys.path[:1] = []
    sys.path.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from mrmd_python.cli.main import main

main()
