"""Starts, stops, restarts and lists runtimes."""

# The backends, in order of preference. Each is the name of a module in `backends`, which is imported only when needed.
BACKENDS = ("systemd", "launchd", "fork", "slurm")
# The backend of a runtime that runs in a terminal or in another program. Users cannot select it.
FOREGROUND = "foreground"
