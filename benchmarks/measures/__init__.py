"""The kinds of measure, a module each."""
