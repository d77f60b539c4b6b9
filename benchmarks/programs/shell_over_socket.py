"""The lower bound of an execution: IPython's run_cell at the other end of a socket, its standard input."""

import os
import socket

from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.history_manager.enabled = False
connection = socket.socket(fileno=0)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
while code := connection.recv(65536):
    shell.run_cell(code.decode())
    connection.sendall(b"done")
os._exit(0)
