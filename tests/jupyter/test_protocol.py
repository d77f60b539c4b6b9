"""The protocol of kernels, by the tests that Jupyter has for all of them."""

from collections.abc import Iterator

import jupyter_kernel_test
import pytest
from jupyter_kernel_test.msgspec_v5 import schema_fragments

from tests.jupyter.front_end import Kernels

pytestmark = pytest.mark.xdist_group("jupyter")

# jupyter_kernel_test has no schema for this one, and fails if it arrives late (JEP 65).
schema_fragments["iopub_welcome"] = {"properties": {"subscription": {"type": "string"}}, "required": ["subscription"]}


@pytest.fixture(scope="class")
def _kernel(kernels: Kernels, request: pytest.FixtureRequest) -> Iterator[None]:
    with kernels.started(kernels.install("cells")) as front_end:
        request.cls.km, request.cls.kc = front_end.manager, front_end.channels
        yield


@pytest.fixture(scope="class")
def _welcoming_kernel(kernels: Kernels, request: pytest.FixtureRequest) -> Iterator[None]:
    manager = kernels.manager(kernels.install("cells"))
    manager.start_kernel(env=dict(kernels.machine.environ), cwd=str(kernels.machine.home))
    other = manager.client()
    other.start_channels()
    other.wait_for_ready(timeout=60)  # its first status may come between a subscription and the welcome
    other.stop_channels()
    request.cls.km, request.cls.kc = manager, manager.client()
    yield
    request.cls.kc.stop_channels()
    manager.shutdown_kernel()


@pytest.mark.usefixtures("_kernel")
class TestKernel(jupyter_kernel_test.KernelTests):  # type: ignore[misc]
    """Every test of jupyter_kernel_test, each with a sample."""

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [  # noqa: RUF012
        {"text": "zi", "matches": ["zip"]},
        {"text": "import math; math.factor", "matches": ["factorial"]},
    ]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]  # noqa: RUF012
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q", "x = 3 ++ * 4"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('a')"
    code_execute_result = [  # noqa: RUF012
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data = [  # noqa: RUF012
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    @classmethod
    def setUpClass(cls) -> None:
        """Leave the start to the fixture."""

    @classmethod
    def tearDownClass(cls) -> None:
        """Leave the end to the fixture."""


@pytest.mark.usefixtures("_welcoming_kernel")
class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc]
    """The message by which a front end knows that it will miss no other."""

    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls) -> None:
        """Leave the start to the fixture."""

    @classmethod
    def tearDownClass(cls) -> None:
        """Leave the end to the fixture."""
