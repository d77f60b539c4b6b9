"""``python -m mrmd_python`` is the command ``mrmd-python``."""

from mrmd_python.cli.main import main

main()
