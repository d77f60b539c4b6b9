"""The measures: one module each."""
