"""The environment of a runtime, as the options change that of the command: --env-file, --env, --gpus."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.environment import refuse_unfit

_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def chosen(
    environ: Mapping[str, str], *, files: Iterable[Path], settings: Iterable[str], gpus: str | None
) -> dict[str, str]:
    """Return the variables that were asked for by name; of two values the later option's, --gpus last.

    Args:
        environ: what a setting without a value takes its value from.
        files: with lines NAME=VALUE, as of a .env file; # begins a comment, quotes group.
        settings: each NAME=VALUE or NAME.
        gpus: numbers or UUIDs, separated by commas, or ``none``.

    Raises:
        ServiceError: a file cannot be read, or a variable has a value that no environment can hold.
    """
    found: dict[str, str] = {}
    for file in files:
        found |= _read(file)
    for setting in settings:
        name, given, value = setting.partition("=")
        if not given and name not in environ:
            raise ServiceError(f"--env {name}: it has no value here; write --env {name}=VALUE")
        found[name] = value if given else environ[name]
    if gpus is not None:
        found |= dict.fromkeys(_GPU_VARIABLES, "" if gpus == "none" else gpus)
    refuse_unfit(found)
    return found


def _read(file: Path) -> dict[str, str]:
    from dotenv.parser import parse_stream

    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise ServiceError(f"--env-file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ServiceError(f"--env-file {file}: it is not UTF-8 text") from None
    found = {}
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            line = binding.original.line
            raise ServiceError(f"--env-file {file}: line {line} is not NAME=VALUE: {binding.original.string.strip()}")
        if binding.key is not None:
            found[binding.key] = binding.value or ""
    return found
