"""A session runs in any kind of Python environment, uses it throughout, and does not change it."""

import hashlib
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interpreters import interpreters, make_venv, numbers, oldest_and_newest, supported, too_old
from tests.machine import Machine

# The oldest Python that runs the server's IPython, the fallback.
_FALLBACK_NEEDS = (3, 11)


def _bare(version: str, prefix: Path) -> None:
    subprocess.run([interpreters()[version], "-m", "venv", "--without-pip", prefix], check=True)


def _uv(version: str, prefix: Path) -> None:
    make_venv(version, prefix)


def _older_ipython(version: str, prefix: Path) -> None:
    make_venv(version, prefix, "ipython==8.12.3")


def _newest_ipython(version: str, prefix: Path) -> None:
    make_venv(version, prefix, "ipython")


def _system_site_packages(version: str, prefix: Path) -> None:
    make_venv(version, prefix, options=("--system-site-packages",))


def _conda(version: str, prefix: Path) -> None:
    """Make an environment as conda does: a complete Python without pyvenv.cfg."""
    print_paths = "import sys, sysconfig; print(sys.base_prefix, sysconfig.get_path('stdlib'), sep='\\n')"
    base, stdlib = subprocess.check_output([interpreters()[version], "-c", print_paths], text=True).splitlines()
    library = prefix / "lib" / f"python{version}"
    (library / "site-packages").mkdir(parents=True)
    for entry in Path(stdlib).iterdir():
        if entry.name != "site-packages":
            (library / entry.name).symlink_to(entry)
    (prefix / "conda-meta").mkdir()
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").write_bytes((Path(base) / "bin" / f"python{version}").read_bytes())
    (prefix / "bin" / "python").chmod(0o755)
    (prefix / "include").symlink_to(Path(base) / "include")


_KINDS: dict[str, Callable[[str, Path], None]] = {
    "bare": _bare,
    "uv": _uv,
    "ipython 8.12": _older_ipython,
    "newest ipython": _newest_ipython,
    "system site-packages": _system_site_packages,
    "conda": _conda,
}
_WITH_IPYTHON = ("ipython 8.12", "newest ipython")


def _tree(prefix: Path) -> dict[str, str]:
    """Return a digest of each file of an environment, except the bytecode that Python writes."""
    return {
        str(path.relative_to(prefix)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in prefix.rglob("*")
        if "__pycache__" not in path.parts and (path.is_symlink() or path.is_file())
    }


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        *((version, kind) for version in oldest_and_newest() for kind in _KINDS),
        *((version, "newest ipython") for version in supported()[1:-1]),
    ],
)
def test_every_kind_of_venv_works_and_is_not_changed(here: Machine, version: str, kind: str) -> None:
    prefix = here.home / "environment"
    _KINDS[kind](version, prefix)
    before = _tree(prefix)
    started = here.mrmd("--id", "a", "--venv", str(prefix))
    if numbers(version) < _FALLBACK_NEEDS and kind not in _WITH_IPYTHON:
        assert started.returncode == 1
        assert f"{prefix}/bin/python -m pip install ipython" in started.stderr
        assert len(started.stderr.splitlines()) == 1
        return
    assert started.returncode == 0, started.stderr
    client = here.client("a")
    assert client.value("import sys; '%d.%d' % sys.version_info[:2]") == repr(version)
    assert client.value("sys.prefix") == repr(str(prefix))
    assert client.value("sys.executable") == repr(f"{prefix}/bin/python")
    paths = f"sys.path[0] == '', {str(prefix)!r} in ''.join(sys.path), any('mrmd' in path for path in sys.path)"
    assert client.value(paths) == "(True, True, False)"
    assert client.value("import os; os.environ['PATH'].split(':')[0]") == repr(f"{prefix}/bin")
    variable = "CONDA_PREFIX" if kind == "conda" else "VIRTUAL_ENV"
    assert client.value(f"os.environ[{variable!r}]") == repr(str(prefix))
    child = "import subprocess; subprocess.check_output(['python', '-c', 'import sys; print(sys.prefix)'], text=True)"
    assert client.value(child) == repr(f"{prefix}\n")
    if kind != "system site-packages":  # that Python may have them installed
        for name in ("aiohttp", "click", "sdnotify", "mrmd_python"):
            assert client.execute(f"import {name}")["error"]["type"] == "ModuleNotFoundError", name
    in_venv = client.value("import IPython; IPython.__file__").strip("'").startswith(str(prefix))
    assert in_venv == (kind in _WITH_IPYTHON)
    assert client.value("%time 1 + 1") == "2"
    assert client.execute("import IPython.terminal.interactiveshell")["error"] is None
    assert here.mrmd("--kill", "a").returncode == 0
    assert _tree(prefix) == before


def _wheel(directory: Path, name: str) -> Path:
    """Make a minimal wheel with one module."""
    wheel = directory / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "value = 42\n")
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        archive.writestr(f"{name}-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{name}-1.dist-info/RECORD", "")
    return wheel


def test_pip_in_a_cell_installs_into_the_sessions_venv(here: Machine) -> None:
    venv = here.home / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    client = here.start("a", "--venv", str(venv))
    for name, pip in (("tiny_a", "%pip"), ("tiny_b", "!pip"), ("tiny_c", "!python -m pip")):
        assert client.execute(f"import {name}")["error"]["type"] == "ModuleNotFoundError"
        wheel = _wheel(here.home, name)
        result = client.execute(f"{pip} install --no-index --disable-pip-version-check {wheel}")
        assert "Successfully installed tiny" in result["stdout"], result
        assert client.value(f"import {name}; {name}.value") == "42"
        assert list(venv.rglob(f"{name}.py")), "the package is not in the venv"


def test_system_packages_need_system_site_packages(here: Machine) -> None:
    """A Python with one module in its site-packages stands for the system."""
    version = sysconfig.get_python_version()
    system = here.home / "system"
    _conda(version, system)
    (system / "lib" / f"python{version}" / "site-packages" / "system_module.py").write_text("value = 42")
    for name, options in (("with", ["--system-site-packages"]), ("without", [])):
        venv = here.home / name
        subprocess.run([system / "bin" / "python", "-m", "venv", "--without-pip", *options, venv], check=True)
        client = here.start(name, "--venv", str(venv))
        found = client.execute("import system_module; system_module.value")
        assert (found["result"] == "42") == bool(options)


def test_module_in_venv_takes_precedence_over_fallback(here: Machine) -> None:
    """The venv has no IPython, but another version of a module that IPython needs."""
    venv = here.home / "venv"
    make_venv(sysconfig.get_python_version(), venv)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "wcwidth.py").write_text("value = 'from the venv'\ndef wcwidth(c): return 1\ndef wcswidth(s): return 1\n")
    client = here.start("a", "--venv", str(venv))
    assert client.value("import wcwidth; wcwidth.value") == "'from the venv'"


def test_venv_package_metadata_takes_precedence_over_fallback(here: Machine) -> None:
    venv = here.home / "venv"
    make_venv(sysconfig.get_python_version(), venv, "traitlets==5.14.3")
    client = here.start("a", "--venv", str(venv))
    client.execute("import IPython; from importlib import metadata")
    assert client.value("metadata.version('ipython') == IPython.__version__") == "True"
    assert client.value("metadata.version('Matplotlib_Inline') == metadata.version('matplotlib-inline')") == "True"
    assert client.value("metadata.version('traitlets')") == "'5.14.3'"
    listed = "sorted(found.version for found in metadata.distributions() if found.metadata['Name'] == 'traitlets')"
    assert client.value(listed) == "['5.14.3']"
    inline = "[e.value for e in metadata.entry_points(group='matplotlib.backend')]"
    assert client.value(inline) == "['matplotlib_inline.backend_inline']"
    lexer = "from pygments.lexers import get_lexer_by_name; type(get_lexer_by_name('ipython3')).__name__"
    assert client.value(lexer) == "'IPython3Lexer'"
    assert client.value(f"list(metadata.distributions(path=[{str(here.home)!r}]))") == "[]"
    assert client.execute("metadata.version('aiohttp')")["error"]["type"] == "PackageNotFoundError"


@pytest.mark.parametrize("version", too_old())
def test_start_rejects_python_that_is_too_old(here: Machine, version: str) -> None:
    done = here.mrmd("--id", "a", "--venv", interpreters()[version])
    assert done.returncode == 1
    assert f"Python {version} is too old" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _without_python(prefix: Path) -> None:
    (prefix / "bin" / "python").unlink()


def _without_base(prefix: Path) -> None:
    """Leave a dangling symlink, as an upgrade of the system's Python does."""
    (prefix / "bin" / "python").unlink()
    (prefix / "bin" / "python").symlink_to("/nowhere/python3")


def _without_standard_library(prefix: Path) -> None:
    (prefix / "bin" / "python").unlink()
    (prefix / "bin" / "python").write_text("#!/bin/sh\necho 'Fatal Python error: no encodings' >&2\nexit 1\n")
    (prefix / "bin" / "python").chmod(0o755)


def _with_a_broken_ipython(prefix: Path) -> None:
    (site,) = prefix.glob("lib/python*/site-packages")
    (site / "IPython").mkdir()
    (site / "IPython" / "__init__.py").write_text("import nowhere_at_all")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_python, "it is not a venv, or a broken one"),
        (_without_base, "it is not a venv, or a broken one"),
        (_without_standard_library, "Fatal Python error: no encodings"),
        (_with_a_broken_ipython, "IPython cannot be imported in"),
    ],
)
def test_start_rejects_broken_venv(here: Machine, damage: Callable[[Path], None], message: str) -> None:
    venv = here.home / "venv"
    make_venv(sysconfig.get_python_version(), venv)
    for name in ("python3", f"python{sysconfig.get_python_version()}"):
        (venv / "bin" / name).unlink(missing_ok=True)
    damage(venv)
    done = here.mrmd("--id", "a", "--venv", str(venv))
    assert done.returncode == 1
    assert message in done.stderr
    assert str(venv) in done.stderr
    assert len(done.stderr.splitlines()) == 1
