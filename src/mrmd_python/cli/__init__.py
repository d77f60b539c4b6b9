"""What a person types: options in, a RuntimeSpec to the service room, lines out."""

import signal

# Until there is something to break off, Ctrl-C just ends the command, rather than with a traceback of its imports.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
