"""IPython in the user's interpreter. Knows no HTTP and imports nothing of the server; runs on CPython 3.9 and newer."""
