"""Starts, stops, restarts and lists runtimes."""

# The backends, in order of preference. Each is the name of a module in `backends`, which is imported only when needed.
BACKENDS = ("systemd", "launchd", "fork")
# The backend of a runtime that only a terminal or another program keeps. It cannot be asked for.
FOREGROUND = "foreground"
