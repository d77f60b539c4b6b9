"""The Jupyter kernel: a runtime as the kernel of JupyterLab, VS Code, nbclient and other front ends.

It needs the extra `mrmd-python[jupyter]`.
"""
