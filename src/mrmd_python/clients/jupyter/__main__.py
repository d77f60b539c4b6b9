"""``python -m mrmd_python.clients.jupyter -f CONNECTION_FILE [--id ID]``: the process that front ends start."""

import os
import sys

# Python puts the working directory first, which is the notebook's and may have a module named as one of a library.
if sys.path[0] == os.getcwd():
    del sys.path[0]

import argparse

from ipykernel.kernelapp import IPKernelApp

from mrmd_python.clients.jupyter.kernel import RuntimeKernel


def main() -> None:
    """Run the kernel until a front end shuts it down."""
    parser = argparse.ArgumentParser(prog="python -m mrmd_python.clients.jupyter", add_help=False)
    parser.add_argument("--id")
    options, rest = parser.parse_known_args()
    app = IPKernelApp.instance(kernel_class=RuntimeKernel)
    app.initialize(rest)
    app.kernel.choose_runtime(options.id)
    app.start()


main()
