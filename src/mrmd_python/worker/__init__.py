"""IPython in the user's interpreter, CPython 3.9 or newer. Knows no HTTP, imports nothing else of mrmd-python."""
