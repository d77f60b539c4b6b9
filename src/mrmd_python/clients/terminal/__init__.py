"""A runtime in a terminal or a pipe: runs code there, shows its output, and asks for its input."""
