"""Starts, stops and lists runtimes, through systemd, launchd or a fork. Knows no HTTP."""
