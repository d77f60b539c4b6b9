"""The batch script of a runtime, and the environment of its job."""

import math
import os
import pwd
import re
import shlex
from collections.abc import Mapping

from mrmd_python.manager.backends.base import template
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.spec import RuntimeSpec

# The fields of a spec that become options of sbatch.
LIMITS = frozenset({"memory_max", "cpu_quota", "nice", "properties"})
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_TEMPLATE = "mrmd-python.sh"
# What a variable of the host of the user's login refers to does not exist on a node. Slurm sets some of them itself.
_OF_LOGIN_HOST = (
    "SLURM_.*|SLURMD_.*|SBATCH_.*|SRUN_.*|SALLOC_.*|DBUS_.*|XDG_RUNTIME_DIR|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|"
    f"ICEAUTHORITY|SESSION_MANAGER|HOSTNAME|{'|'.join(GPU_VARIABLES)}"
)
# Options of sbatch that the script sets, or with which it would not be one server that the backend can find.
_RESERVED = frozenset(
    {"array", "chdir", "clusters", "cpus-per-task", "error", "export", "export-file", "get-user-env", "input"}
    | {"job-name", "mem", "nice", "no-requeue", "open-mode", "output", "parsable", "requeue", "signal", "test-only"}
    | {"wait", "wrap"}
)
_OPTION_OF_RESERVED = {"mem": "--memory-max", "cpus-per-task": "--cpu-quota", "nice": "--nice", "chdir": "--cwd"}
# Variables of the caller that would override options of the script, and are not named like them (sbatch(1)).
_INPUT_VARIABLES = {"time": "TIMELIMIT", "no-requeue": "REQUEUE", "mem": "MEM_PER_NODE", "export-file": "EXPORT"}


def job_name(runtime_id: str) -> str:
    """Return the name of the job of a runtime."""
    return f"mrmd-python@{runtime_id}"


def render(home: Home, spec: RuntimeSpec) -> str:
    """Return the batch script.

    Raises:
        ServiceError: Slurm cannot express this spec.
    """
    command = [_word(word) for word in spec.server_command()]
    lines = {
        "#SBATCH --job-name=mrmd-python@ID": [_directive("job-name", job_name(spec.id))],
        "#SBATCH --chdir=HOME": [_directive("chdir", str(home.root))],
        # A % begins a replacement symbol (sbatch(1), "filename pattern").
        "#SBATCH --output=LOG": [_directive("output", str(home.log(spec.id)).replace("%", "%%"))],
        # The command that submits this passes the environment by a descriptor.
        "#SBATCH --export-file=ENVIRONMENT": [],
        "# Limits.": [_directive(*option) for option in options(spec).items()],
        "umask MASK": [f"umask {spec.umask}"] if spec.umask is not None else [],
        "exec SERVER": [" \\\n    ".join(["exec " + " ".join(command[:4]), *command[4:]])],
    }
    text = template("slurm", _TEMPLATE).splitlines()
    return "".join(f"{line}\n" for known in text for line in lines.get(known, [known]))


def options(spec: RuntimeSpec) -> dict[str, str | None]:
    """Return the options of sbatch for the limits of a spec, by name; None for one without a value.

    Raises:
        ServiceError: Slurm cannot express a limit, or the option is one that the script sets.
    """
    found: dict[str, str | None] = {}
    if spec.memory_max is not None:
        found["mem"] = _memory(spec.memory_max)
    if spec.cpu_quota is not None:
        found["cpus-per-task"] = str(math.ceil(float(spec.cpu_quota.rstrip("%")) / 100))
    if spec.nice is not None:
        found["nice"] = str(spec.nice)
    for each in spec.properties:
        name, _, value = each.partition("=")
        if name in _RESERVED:
            instead = f"; use {_OPTION_OF_RESERVED[name]}" if name in _OPTION_OF_RESERVED else ""
            raise ServiceError(f"--property {each}: mrmd-python sets this option of sbatch itself{instead}")
        found[name] = value or None
    return found


def overriding_variables(script: str) -> set[str]:
    """Return the variables of the caller with which sbatch would ignore an option of the script."""
    names = re.findall(r"^#SBATCH --([a-z-]+)", script, re.MULTILINE)
    return {f"SBATCH_{_INPUT_VARIABLES.get(name, name.replace('-', '_').upper())}" for name in names}


def environment_on_node(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of a captured environment has a meaning on a node."""
    user = pwd.getpwuid(os.getuid())
    least = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    return least | {name: value for name, value in environment.items() if not re.fullmatch(_OF_LOGIN_HOST, name)}


def _memory(size: str) -> str:
    """Return --memory-max as sbatch's --mem: a whole number and a unit, of which M is the default; 0 for all."""
    if size == "infinity":
        return "0"
    if size.endswith("%"):
        raise ServiceError(f"--memory-max {size}: Slurm needs a size, as in 8G")
    if re.fullmatch(r"\d+[KMGT]", size):
        return size
    factor = 1024 ** (" KMGTPE".index(size[-1]) if size[-1].isalpha() else 0)
    return f"{math.ceil(float(size.rstrip('KMGTPE')) * factor / 1024)}K"


def _word(text: str) -> str:
    """Return a word of a shell command. sbatch refuses a script with a carriage return at the end of a line."""
    return shlex.quote(text).replace("\r", """'"$(printf '\\r')"'""")


def _directive(name: str, value: str | None) -> str:
    r"""Return an option as a line of a batch script. sbatch reads quotes and backslashes there as a shell does.

    Raises:
        ServiceError: the value cannot be written in a line, or Slurm would change it.
    """
    if value is None:
        return f"#SBATCH --{name}"
    if re.search(r"[\r\n\\]", value):
        raise ServiceError(f"Slurm cannot take {value!r} for --{name}: use a name without line breaks and backslashes")
    plain = re.fullmatch(r"[A-Za-z0-9_@%+=:,./()*&|\[\]-]*", value)
    quoted = value if plain else '"' + value.replace('"', '\\"') + '"'
    return f"#SBATCH --{name}={quoted}"
