"""Agents use runtimes by the MCP server: the tools, with the SDK's client."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.agent import Agent, connected
from tests.client import Client, Json
from tests.machine import MRMD, Machine, assert_error, processes_of, wait_until
from tests.terminal import terminal

pytestmark = pytest.mark.xdist_group("mcp")

_READING = {"read_output", "variables", "inspect", "recent_activity"}
_CHANGING = {"run_code", "answer_input", "interrupt", "reset", "start_runtime"}
_OF_ALL = {"list_runtimes", "kill_runtime"}
_CUT = re.compile(r'\n\[\.\.\. (\d+) characters left out; read_output\(execution_id="(.+)", position=(\d+)\) .*\]\n')


@pytest.fixture(scope="module")
def ada(shared_machine: Machine, shared_runtime: Client) -> Iterator[Agent]:
    """An agent, bound to the shared runtime."""
    with connected(shared_machine, "shared", name="ada") as agent:
        yield agent


@pytest.fixture(scope="module")
def bob(shared_machine: Machine) -> Iterator[Agent]:
    """An agent that can use every runtime."""
    with connected(shared_machine, name="bob") as agent:
        yield agent


@pytest.fixture(scope="module")
def reader(shared_machine: Machine) -> Iterator[Agent]:
    """An agent that can only look, at the session "etl" of every runtime."""
    with connected(shared_machine, "--read-only", "--session", "etl", name="reader") as agent:
        yield agent


def read_to_the_end(agent: Agent, execution: str, position: int = 0) -> str:
    """Return all output of an execution from a position on, in as many calls as it takes."""
    text: str = ""
    while True:
        found: Json = agent.answer("read_output", execution_id=execution, position=position, wait_seconds=1).fields
        cut = _CUT.search(found["output"])
        if cut is not None:
            assert (found["left_out_at"], cut[2]) == (int(cut[3]), execution)
        text += found["output"] if cut is None else found["output"][: cut.start()]
        if cut is None and found["state"] in ("done", "error"):
            return text
        assert found["position"] >= position
        position = found["position"] if cut is None else found["left_out_at"]


def test_agent_uses_the_variables_of_its_user(ada: Agent, shared: Client) -> None:
    shared.execute("rows = [1, 2]")
    found = ada.call("run_code", code="print('added')\nrows.append(3)\nrows")
    assert (found["state"], found["output"], found["result"]) == ("done", "added\n", "[1, 2, 3]")
    assert shared.value("rows") == "[1, 2, 3]"


def test_run_that_outlasts_its_time_is_read_to_its_end(ada: Agent, shared: Client, tmp_path: Path) -> None:
    line = "üñí€😀" * 20
    gate = tmp_path / "gate"
    code = f"""
import os, time
for n in range(2000):
    print(n, {line!r}, flush=True)
    if n % 500 == 0:
        time.sleep(0.1)
    while n == 10 and not os.path.exists({str(gate)!r}):
        time.sleep(0.01)
"""
    found = ada.call("run_code", code=code, wait_seconds=0.2)
    assert found["state"] == "running"
    gate.touch()
    rest = read_to_the_end(ada, found["execution_id"], found["position"])
    assert found["output"] + rest == "".join(f"{n} {line}\n" for n in range(2000))
    assert read_to_the_end(ada, found["execution_id"]) == found["output"] + rest


def test_long_output_is_cut_in_the_middle(ada: Agent, shared: Client) -> None:
    found = ada.call("run_code", code="for n in range(100_000): print(n)")
    assert found["output"].startswith("0\n1\n")
    assert found["output"].endswith("99998\n99999\n")
    cut = _CUT.search(found["output"])
    assert cut is not None
    whole = sum(len(f"{n}\n") for n in range(100_000))
    assert len(found["output"]) - len(cut[0]) + int(cut[1]) == whole


def test_progress_is_reported_while_code_runs(ada: Agent, shared: Client) -> None:
    code = "import time\nfor n in range(25): print('step', n); time.sleep(0.1)"
    answer = ada.answer("run_code", code=code, wait_seconds=20)
    assert answer.fields["state"] == "done"
    passed, seconds, said = answer.progress[0]
    assert 0 < passed < 20
    assert seconds == 20
    assert said is not None
    assert said.startswith("step")


def test_error_of_code_is_a_tool_error_with_the_plain_traceback(ada: Agent, shared: Client) -> None:
    answer = ada.answer("run_code", code="print('before')\n1 / 0")
    assert answer.result.is_error
    assert answer.text.startswith("before\n")
    assert answer.text.count("ZeroDivisionError: division by zero") == 1
    assert "----> 2 1 / 0" in answer.text
    assert "\x1b" not in answer.text
    error = answer.fields["error"]
    assert (answer.fields["state"], error["type"], error["message"]) == (
        "error",
        "ZeroDivisionError",
        "division by zero",
    )


def test_text_is_as_a_terminal_leaves_it(ada: Agent, shared: Client) -> None:
    code = "print('\\x1b[31mred\\x1b[0m')\nfor n in range(100): print(f'\\r{n}%', end='')\nprint()"
    assert ada.call("run_code", code=code)["output"] == "red\n99%\n"


def test_half_a_surrogate_pair_is_replaced(ada: Agent, shared: Client) -> None:
    assert ada.call("run_code", code="display({'text/plain': 'a\\ud800b'}, raw=True)")["output"] == "a?b\n"


def test_position_after_the_end_is_the_end(ada: Agent, shared: Client) -> None:
    execution = ada.call("run_code", code="print('x')")["execution_id"]
    found = ada.call("read_output", execution_id=execution, position=10**9)
    assert (found["state"], found["output"]) == ("done", "")


def test_pictures_are_images_of_a_size_that_models_see(ada: Agent, shared: Client) -> None:
    code = """
import io
from PIL import Image
from IPython.display import display, Image as Picture

def picture(*size):
    file = io.BytesIO()
    Image.new('RGB', size, 'red').save(file, 'png')
    return Picture(file.getvalue())

print('first')
display(picture(4000, 1000))
print('second')
picture(20, 10)
"""
    answer = ada.answer("run_code", code=code)
    assert not answer.result.is_error, answer.text
    assert [picture.size for picture in answer.pictures] == [(1024, 256), (20, 10)]
    assert answer.text.splitlines() == ["first", "[picture 1]", "second", "[picture 2]", "[done]"]
    assert answer.result.structured_content is None, "agents that find it do not show the pictures"


def test_each_of_many_pictures_can_be_read(ada: Agent, shared: Client) -> None:
    code = """
import io
from PIL import Image
from IPython.display import display, Image as Picture
for n in range(1, 12):
    file = io.BytesIO()
    Image.new('RGB', (n, 1)).save(file, 'png')
    display(Picture(file.getvalue()))
"""
    answer = ada.answer("run_code", code=code)
    first = [picture.width for picture in answer.pictures]
    execution, position = re.findall(r'read_output\(execution_id="(.+)", position=(\d+)\) returns it', answer.text)[0]
    rest = ada.answer("read_output", execution_id=execution, position=int(position)).pictures
    assert first + [picture.width for picture in rest] == list(range(1, 12))


def test_agent_sees_what_its_user_has_displayed(ada: Agent, shared: Client) -> None:
    code = "from PIL import Image; print('mine')\nImage.new('RGB', (30, 20))"
    shared.execute(code, client="notebook", execId="of the user")
    (item,) = ada.call("recent_activity", limit=1)["executions"]
    assert (item["execution_id"], item["client"], item["state"], item["code"]) == (
        "of the user",
        "notebook",
        "done",
        code,
    )
    answer = ada.answer("read_output", execution_id="of the user")
    assert answer.text.startswith("mine\n")
    assert [picture.size for picture in answer.pictures] == [(30, 20)]
    shared.execute("1 / 0", execId="failed")
    failure = ada.error("read_output", execution_id="failed")
    assert failure.count("ZeroDivisionError: division by zero") == 1


def test_cleared_output_and_earlier_forms_of_displays_are_left_out(ada: Agent, shared: Client) -> None:
    code = """
from IPython.display import clear_output, display
handle = display('loading', display_id=True)
for n in range(3):
    clear_output(wait=True)
    print('step', n)
shown = display(0, display_id=True)
for n in range(1, 4):
    shown.update(n)
"""
    assert ada.call("run_code", code=code)["output"] == "step 2\n0\n3\n"


def test_agent_answers_input(ada: Agent, shared: Client) -> None:
    found = ada.call("run_code", code="for n in range(2): print('got', input(f'Value {n}? '))", wait_seconds=30)
    for n in range(2):
        assert (found["state"], found["prompt"]) == ("waiting_for_input", f"Value {n}? ")
        found = ada.call("answer_input", execution_id=found["execution_id"], text=f"{n}{n}", position=found["position"])
    assert found["state"] == "done"
    assert "got 11" in found["output"]
    assert "got 00" not in found["output"], "it begins at the position"
    refused = ada.error("answer_input", execution_id=found["execution_id"], text="x", position=0)
    assert "does not wait for input" in refused


def test_agent_interrupts_its_code_and_not_that_of_others(ada: Agent, shared: Client) -> None:
    with shared.streaming("while True: pass", execId="endless") as events:
        assert next(events).name == "start"
        queued = ada.call("run_code", code="'mine'", wait_seconds=0)
        assert queued["state"] == "queued"
        assert ada.call("interrupt", execution_id=queued["execution_id"]) == {"interrupted": True}
        assert "ExecutionDropped" in ada.error("read_output", execution_id=queued["execution_id"])
        assert shared.is_busy()
        waiting = ada.begin("read_output", execution_id="endless", wait_seconds=60)
        assert ada.call("interrupt", execution_id="endless") == {"interrupted": True}
        assert "KeyboardInterrupt" in waiting.result().text
    assert ada.call("interrupt", execution_id="endless") == {"interrupted": False}


def test_variables_names_and_reset(ada: Agent, shared: Client) -> None:
    shared.execute("import numpy as np\narray = np.zeros((2, 3))\ndef double(x):\n    'Twice x.'\n    return 2 * x")
    (array,) = ada.call("variables", pattern="arr*")["variables"]
    assert (array["type"], array["shape"], array["dtype"]) == ("ndarray", [2, 3], "float64")
    found = ada.call("inspect", name="double", source=True)
    assert (found["signature"], found["docstring"]) == ("(x)", "Twice x.")
    assert "return 2 * x" in found["source_code"]
    assert "no 'missing'" in ada.error("inspect", name="missing")
    ada.call("reset")
    assert ada.call("variables")["variables"] == []


def test_two_agents_and_a_console_share_a_session(
    shared_machine: Machine, ada: Agent, bob: Agent, shared: Client
) -> None:
    shared.execute("order = []")
    with terminal(shared_machine, MRMD, "--console", "shared") as console:
        console.wait_for("In [")
        running = ada.begin("run_code", code="import time; time.sleep(1); order.append('ada'); print('of ada')")
        console.wait_for("ada: import time;")
        waiting = bob.begin("run_code", runtime="shared", code="order.append('bob'); print('of bob')")
        assert running.result().fields["output"] == "of ada\n"
        assert waiting.result().fields["output"] == "of bob\n"
        console.wait_for("bob: order.append('bob');")
        console.enter("order += ['user']; print(len(order), 'of user')")
        console.wait_for("3 of user")
    assert shared.value("order") == "['ada', 'bob', 'user']"
    ran = ada.call("recent_activity", limit=4)["executions"]
    assert [item["client"] for item in ran] == [None, "console", "bob", "ada"]
    assert ada.call("read_output", execution_id=ran[1]["execution_id"])["output"].startswith("3 of user\n")


def test_runtime_that_dies_in_between_is_reported_and_started_again(shared_machine: Machine, bob: Agent) -> None:
    client = shared_machine.start("mortal", "--env", "COLOR=red")
    mortal = {"runtime": "mortal"}
    bob.call("run_code", **mortal, code="x = 1")
    running = bob.begin("run_code", **mortal, code="import time; print('begun'); time.sleep(60)", wait_seconds=60)
    wait_until(client.is_busy, "the code runs")
    execution = bob.call("recent_activity", **mortal, limit=1)["executions"][0]["execution_id"]
    wait_until(lambda: "begun" in bob.answer("read_output", **mortal, execution_id=execution).text, "it has printed")
    shared_machine.kill("KILL", client.pid)
    failed = running.result(timeout=60)
    assert failed.result.is_error
    assert failed.text.startswith("begun\n")
    assert "has crashed" in failed.text
    assert failed.fields["state"] == "lost"
    assert "has crashed" in bob.error("run_code", **mortal, code="x")
    assert not bob.call("start_runtime", **mortal)["already_running"]
    assert "NameError" in bob.error("run_code", **mortal, code="x")
    assert bob.call("run_code", **mortal, code="import os; os.environ['COLOR']")["result"] == "'red'", (
        "its options are kept"
    )
    bob.call("kill_runtime", **mortal)


def test_agent_lists_starts_and_kills_runtimes(shared_machine: Machine, bob: Agent) -> None:
    def listed() -> dict[str, Json]:
        return {found["id"]: found for found in bob.call("list_runtimes")["runtimes"]}

    new = {"runtime": "new"}
    assert "new" not in listed()
    assert "mrmd-python --id new" in bob.error("run_code", **new, code="1")
    work = shared_machine.home / "work"
    work.mkdir()
    assert not bob.call("start_runtime", **new, cwd=str(work))["already_running"]
    assert bob.call("start_runtime", **new)["already_running"]
    assert bob.call("run_code", **new, code="import os; os.getcwd()")["result"] == repr(str(work))
    assert (listed()["new"]["status"], listed()["new"]["cwd"]) == ("running", str(work))
    assert bob.call("kill_runtime", **new)["processes"] > 1
    assert "new" not in listed()
    assert "no runtime named 'new'" in bob.error("kill_runtime", **new)
    assert "/no-such-directory" in bob.error("start_runtime", **new, cwd="/no-such-directory")
    for tool in ("start_runtime", "kill_runtime", "reset"):
        assert "invalid id" in bob.error(tool, runtime="--list")


def test_tools_say_what_they_change(ada: Agent, bob: Agent) -> None:
    assert ada.tools().keys() == _READING | _CHANGING
    assert bob.tools().keys() == _READING | _CHANGING | _OF_ALL
    assert all("runtime" not in tool.input_schema["properties"] for tool in ada.tools().values())
    for name, tool in bob.tools().items():
        assert ("runtime" in tool.input_schema["properties"]) == (name != "list_runtimes")
        assert tool.annotations is not None
        assert bool(tool.annotations.read_only_hint) == (name in _READING | {"list_runtimes"})


def test_read_only_leaves_out_what_changes_anything(reader: Agent, shared: Client) -> None:
    assert reader.tools().keys() == _READING | {"list_runtimes"}
    assert "Unknown tool" in reader.error("run_code", runtime="shared", code="x = 1")


def test_session_of_the_option_is_that_of_all_tools(reader: Agent, shared: Client) -> None:
    shared.execute("x = 1")
    shared.execute("y = 2", session="etl")
    assert all("session" not in tool.input_schema["properties"] for tool in reader.tools().values())
    assert [found["name"] for found in reader.call("variables", runtime="shared")["variables"]] == ["y"]


def test_100_mb_of_output_take_little_memory(shared_machine: Machine, ada: Agent, shared: Client) -> None:
    def peak() -> int:
        servers = [psutil.Process(pid) for pid in processes_of(shared_machine.home)]
        (server,) = [each for each in servers if each.cmdline()[-2:] == ["--mcp", "shared"]]
        status = Path(f"/proc/{server.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    ada.call("run_code", code="print('x' * 100_000)")
    before = peak()
    code = "import sys\nfor n in range(1000): sys.stdout.write(str(n % 10) * 99_999 + '\\n')\nprint('end')"
    found = ada.call("run_code", code=code, wait_seconds=60)
    assert found["state"] == "done"
    assert found["output"].startswith("000")
    assert found["output"].endswith("\nend\n")
    assert ada.call("read_output", execution_id=found["execution_id"])["output"].endswith("\nend\n")
    assert peak() - before < 32 * 1024


def test_options_of_mcp_need_it(here: Machine) -> None:
    assert_error(here.mrmd("--read-only"), 2, "--read-only needs --mcp")
    assert_error(here.mrmd("--mcp", "a b"), 2, "--mcp")


def test_without_the_sdk_one_line_says_what_to_install(here: Machine) -> None:
    code = "import sys; sys.modules['mcp'] = None; from mrmd_python.cli.main import main; main()"
    assert_error(here.run(sys.executable, "-c", code, "--mcp"), 1, "pip install 'mrmd-python[mcp]'")
