"""The command line: options in, one call of the manager or the server, text or JSON out."""

import signal

# While modules are imported, Ctrl-C just ends the command, without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
