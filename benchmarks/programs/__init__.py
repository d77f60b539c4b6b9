"""Programs that run in another venv than the benchmark."""
