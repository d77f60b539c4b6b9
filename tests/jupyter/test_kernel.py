"""What a kernel does beyond Jupyter's own tests: interrupts, input, commands, and which runtime it uses."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client import DRAWING, Client
from tests.jupyter.front_end import FrontEnd, Kernels
from tests.machine import wait_until

pytestmark = pytest.mark.xdist_group("jupyter")

_SLEEP = "import time\nprint('begun')\ntime.sleep(60)"


@pytest.fixture
def runtime(kernels: Kernels, front_end: FrontEnd) -> Client:
    """A client of the runtime that the shared front end uses."""
    front_end.run("0")
    return kernels.machine.client("cells")


def test_cells_share_variables_and_are_numbered(front_end: FrontEnd) -> None:
    first = front_end.run("kept = 41")
    second = front_end.run("print('text'); kept + 1")
    assert second.kinds == ["stream", "execute_result"]
    assert second.outputs[1][1]["data"] == {"text/plain": "42"}
    assert second.count == second.reply["execution_count"] == first.count + 1
    failed = front_end.run("1 / 0")
    assert failed.count == failed.reply["execution_count"] == second.count + 1
    assert failed.kinds == ["error"]
    assert "\x1b[" in "".join(failed.reply["traceback"]), "the traceback must be coloured"
    values = front_end.run("2", user_expressions={"a": "kept", "b": "nothing"}).reply["user_expressions"]
    assert values["a"] == {"status": "ok", "data": {"text/plain": "41"}, "metadata": {}}
    assert (values["b"]["status"], values["b"]["ename"]) == ("error", "NameError")


def test_cell_of_another_client_counts(front_end: FrontEnd, runtime: Client) -> None:
    number = front_end.run("1").count
    runtime.execute("theirs = 1")
    cell = front_end.run("theirs")
    assert cell.reply["execution_count"] == cell.of_kind("execute_result")[0]["execution_count"] == number + 2


def test_completion_has_types_and_positions_in_characters(front_end: FrontEnd) -> None:
    code = "'😀'; zi"
    found = front_end.ask("complete", code)
    assert (found["matches"], found["cursor_start"], found["cursor_end"]) == (["zip"], 5, 7)
    (typed,) = found["metadata"]["_jupyter_types_experimental"]
    assert (typed["text"], typed["type"]) == ("zip", "class")
    described = front_end.ask("inspect", "'😀'; print(", 11, detail_level=0)["data"]["text/plain"]
    assert "print(*args, sep=' '" in described


def test_interrupt_by_message_and_by_signal(front_end: FrontEnd) -> None:
    def interrupted(interrupt: Callable[[], None]) -> str:
        cell = front_end.send(_SLEEP)
        front_end.until(cell, lambda: "begun" in cell.text(), "the code runs")
        interrupt()
        return str(front_end.finish(cell).reply["ename"])

    assert interrupted(front_end.manager.interrupt_kernel) == "KeyboardInterrupt"
    assert interrupted(lambda: os.kill(front_end.pid, signal.SIGINT)) == "KeyboardInterrupt"


def test_interrupt_of_a_cell_that_waits_leaves_the_code_of_others_alone(front_end: FrontEnd, runtime: Client) -> None:
    with runtime.streaming(_SLEEP) as events:
        next(event for event in events if event.name == "stdout")
        cell = front_end.send("ran = True")
        wait_until(lambda: runtime.get("/sessions/default")["queued"] == 1, "the cell is queued")
        front_end.manager.interrupt_kernel()
        assert front_end.finish(cell).reply["status"] == "error"
        assert runtime.is_busy()
        runtime.post("/interrupt")
    assert runtime.value("'ran' in globals()") == "False"


def test_restart_gives_a_new_process_and_shutdown_leaves_it_alone(kernels: Kernels) -> None:
    name = kernels.install("restarts")
    with kernels.started(name) as front_end:
        front_end.run("kept = 1; import os; os.environ['LEFT'] = 'yes'")
        runtime = kernels.machine.client("restarts")
        front_end.manager.restart_kernel()
        assert runtime.value("'kept' in globals(), os.environ.get('LEFT') if 'os' in globals() else None") == (
            "(False, None)"
        )
        front_end.wait()
        front_end.run("kept = 2")
    with kernels.started(name) as front_end:
        cell = front_end.run("kept")
        assert cell.of_kind("execute_result")[0]["data"] == {"text/plain": "2"}
        assert cell.text("stderr") == ""
    assert kernels.machine.client("restarts").pid == runtime.pid


def test_shutdown_leaves_running_code_alone(kernels: Kernels) -> None:
    """Front ends interrupt a kernel before they shut it down."""
    with kernels.started(kernels.install("restarts")) as front_end:
        cell = front_end.send(_SLEEP)
        front_end.until(cell, lambda: "begun" in cell.text(), "the code runs")
    runtime = kernels.machine.client("restarts")
    assert runtime.is_busy()
    runtime.post("/interrupt")


def test_input_is_asked_of_the_front_end(front_end: FrontEnd) -> None:
    cell = front_end.send("name = input('Name? ')\nname")
    assert front_end.question() == {"prompt": "Name? ", "password": False}
    front_end.channels.input("Ada")
    assert front_end.finish(cell).kinds == ["execute_result"], "the front end shows the prompt and the answer itself"
    cell = front_end.send("import getpass; secret = getpass.getpass()")
    assert front_end.question() == {"prompt": "Password: ", "password": True}
    front_end.channels.input("sesame")
    front_end.finish(cell)
    assert front_end.run("name, secret").of_kind("execute_result")[0]["data"]["text/plain"] == "('Ada', 'sesame')"
    refused = front_end.run("input()", allow_stdin=False)
    assert refused.reply["ename"] == "StdinNotImplementedError"


def test_interrupted_question_takes_no_late_answer(front_end: FrontEnd) -> None:
    cell = front_end.send("input('first')")
    front_end.question()
    front_end.manager.interrupt_kernel()
    assert front_end.finish(cell).reply["ename"] == "KeyboardInterrupt"
    front_end.channels.input("late")
    cell = front_end.send("input('second')")
    front_end.question()
    front_end.channels.input("in time")
    assert front_end.finish(cell).of_kind("execute_result")[0]["data"]["text/plain"] == "'in time'"


def test_runtime_that_dies_is_an_error_and_the_next_cell_starts_another(kernels: Kernels) -> None:
    with kernels.started(kernels.install("dies")) as front_end:
        front_end.run("kept = 1")
        cell = front_end.send(_SLEEP)
        front_end.until(cell, lambda: "begun" in cell.text(), "the code runs")
        kernels.machine.kill("KILL", kernels.machine.client("dies").pid)
        assert "the runtime 'dies' has crashed" in front_end.finish(cell).reply["evalue"]
        cell = front_end.run("'kept' in globals()")
        assert cell.of_kind("execute_result")[0]["data"] == {"text/plain": "False"}
        assert "'dies' is a new runtime now: the variables are gone" in cell.text("stderr")
        assert front_end.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").of_kind("error")[0][
            "traceback"
        ] == [
            "SessionDied: the session's process was killed by SIGSEGV. Its variables are gone; the next execution "
            "starts a fresh one"
        ]


def test_attach_shows_the_last_execution_as_its_client_saw_it(front_end: FrontEnd, runtime: Client) -> None:
    code = f"for n in range(3): print('line', n)\n{DRAWING}\n1 / 0"
    runtime.execute(code, execId="plain")
    cell = front_end.run("%attach")
    assert cell.text().startswith("line 0\nline 1\nline 2\n")
    assert cell.text().count("division by zero") == 1
    assert [shown["data"]["image/svg+xml"] for shown in cell.of_kind("display_data")] == [
        '<svg xmlns="http://www.w3.org/2000/svg"/>'
    ]
    assert cell.of_kind("error") == [], "the traceback is part of the text"
    assert cell.reply["ename"] == "ZeroDivisionError"
    original = front_end.run(code)
    assert front_end.run("%attach").outputs == original.outputs
    assert front_end.run("%attach plain").outputs == cell.outputs
    assert "it has no execution 'other'" in front_end.run("%attach other").reply["evalue"]


def test_attach_follows_what_runs_and_answers_its_questions(kernels: Kernels, runtime: Client) -> None:
    code = "print(input('first? '))\nprint('between')\nprint(input('second? '))"
    with runtime.streaming(code, execId="asks") as events:
        next(event for event in events if event.name == "stdin_request")
        runtime.post("/input", {"execId": "asks", "text": "one"})
        next(event for event in events if event.name == "stdin_request")
        with kernels.started(kernels.install("cells")) as front_end:
            cell = front_end.send("%attach")
            assert front_end.question()["prompt"] == "second? ", "the first question has been answered"
            front_end.channels.input("two")
            assert front_end.finish(cell).text() == "first? one\none\nbetween\ntwo\ntwo\n"


def test_first_output_says_that_other_code_runs(kernels: Kernels, runtime: Client) -> None:
    with runtime.streaming("input()") as events:
        next(event for event in events if event.name == "stdin_request")
        with kernels.started(kernels.install("cells")) as front_end:
            cell = front_end.send("1")
            front_end.until(cell, lambda: "to see its output: %attach" in cell.text("stderr"), "it says so")
            runtime.post("/interrupt")
            assert "%attach" not in front_end.finish(front_end.send("2")).text("stderr")


def test_runtimes_lists_them(front_end: FrontEnd, runtime: Client) -> None:
    assert "cells" in front_end.run("%runtimes").text()


def test_notebooks_have_runtimes_of_their_own_which_are_found_again(kernels: Kernels, tmp_path: Path) -> None:
    name = kernels.install()
    notebooks = [tmp_path / "a" / "Überblick 1.ipynb", tmp_path / "b" / "Überblick 1.ipynb"]
    for notebook in notebooks:
        notebook.parent.mkdir()
        notebook.write_text("{}")
        with kernels.started(name, cwd=notebook.parent, JPY_SESSION_NAME=str(notebook)) as front_end:
            cell = front_end.run("import os; seen = globals().get('seen', 0) + 1; print(seen, os.getcwd())")
            assert cell.text() == f"1 {notebook.parent}\n"
            assert front_end.run("'JPY_SESSION_NAME' in os.environ").outputs[0][1]["data"]["text/plain"] == "False"
    found = [each for each in kernels.machine.states() if each.startswith("berblick-1-")]
    assert len(found) == 2
    with kernels.started(name, cwd=tmp_path, JPY_SESSION_NAME=str(notebooks[0])) as front_end:
        assert front_end.run("seen").outputs[0][1]["data"]["text/plain"] == "1"


def test_vs_code_names_the_notebook_with_the_first_cell(kernels: Kernels) -> None:
    """VS Code runs code of its own before the first cell, and waits for it."""
    cell_id = {"cellId": "vscode-notebook-cell://ssh-remote%2Bhost/home/ada/My%20work.ipynb#W0sZmlsZQ%3D%3D"}
    with kernels.started(kernels.install()) as front_end:
        before = kernels.machine.states()
        assert front_end.run("early = 'set'", silent=True, store_history=False).reply["status"] == "ok"
        assert kernels.machine.states() == before
        assert front_end.run("early", metadata=cell_id).of_kind("execute_result")[0]["data"]["text/plain"] == "'set'"
        (runtime_id,) = [each for each in kernels.machine.states() if each.startswith("My-work-")]
        assert front_end.run("print(early)", silent=True, store_history=False).text() == "set\n"
        runtime = kernels.machine.client(runtime_id)
        with runtime.streaming("input('wait')") as events:
            next(event for event in events if event.name == "stdin_request")
            assert front_end.run("late = 1", silent=True, store_history=False).reply["status"] == "ok"
            assert front_end.send("%attach") is not None
            runtime.post("/interrupt")
        assert runtime.value("late") == "1"


def test_runtime_that_no_other_kernel_can_find_ends_with_its_kernel(kernels: Kernels) -> None:
    before = kernels.machine.states()
    with kernels.started(kernels.install()) as front_end:
        front_end.run("1")
        (temporary,) = kernels.machine.states().keys() - before.keys()
        assert temporary.startswith("jupyter-")
    assert temporary not in kernels.machine.states()


def test_widgets_fall_back_to_text(front_end: FrontEnd) -> None:
    widget = "{'application/vnd.jupyter.widget-view+json': {'model_id': 'x'}, 'text/plain': 'IntSlider(value=0)'}"
    cell = front_end.run(f"from IPython.display import display\ndisplay({widget}, raw=True)")
    assert cell.of_kind("display_data")[0]["data"] == {"text/plain": "IntSlider(value=0)"}
    cell = front_end.run("from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass")
    assert cell.kinds == ["stream"]
    assert "3/3" in cell.text("stderr")


def test_much_output_takes_little_memory(front_end: FrontEnd) -> None:
    status = Path(f"/proc/{front_end.pid}/status")

    def peak_after(lines: int) -> float:
        cell = front_end.run(f"for n in range({lines}): print(f'{{n:079}}')")
        assert cell.text() == "".join(f"{n:079}\n" for n in range(lines))
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024

    assert -peak_after(100_000) + peak_after(700_000) < 32, "48 MB more text must not take as much memory"
