"""Input requests of a cell, and how they end; tests/worker/test_stdin.py has the functions that request input."""

from tests.client import Client, text_of


def test_cancelled_input_can_be_caught(client: Client) -> None:
    caught = client.converse("try: input()\nexcept Exception as e: print(type(e).__name__)", None)
    assert text_of(caught, "stdout") == "InputCancelled\n"


def test_interrupt_ends_input_and_late_text_is_rejected(client: Client) -> None:
    with client.streaming("input('? ')", execId="one") as events:
        assert [next(events).name for _ in range(3)][-1] == "stdin_request"
        assert client.post("/interrupt") == {"interrupted": True}
        assert next(event.data["type"] for event in events if event.name == "error") == "KeyboardInterrupt"
    assert client.post("/input", {"execId": "one", "text": "late"})["accepted"] is False
    assert text_of(client.converse("print(input())", "fresh"), "stdout") == "fresh\nfresh\n"


def test_cell_that_catches_interrupt_can_request_input_again(client: Client) -> None:
    code = "try:\n    input('1 ')\nexcept KeyboardInterrupt:\n    print('no')\nprint(input('2 '))"
    with client.streaming(code, execId="two") as events:
        seen = []
        for event in events:
            seen.append(event)
            if event.name == "stdin_request" and event.data["prompt"] == "1 ":
                client.post("/interrupt")
            elif event.name == "stdin_request":
                assert client.post("/input", {"execId": "two", "text": "yes"}) == {"accepted": True}
    assert text_of(seen, "stdout") == "1 no\n2 yes\nyes\n"


def test_input_of_a_thread_ends_with_its_cell(client: Client) -> None:
    read = "def read():\n    try: input('thread? ')\n    except Exception as e: ended.append(type(e).__name__)"
    with client.streaming(f"import asyncio; ended = []\n{read}\nawait asyncio.to_thread(read)") as events:
        for event in events:
            if event.name == "stdin_request":
                client.post("/interrupt")
    assert text_of(client.converse("print(input('next? '))", "yes"), "stdout") == "next? yes\nyes\n"
    assert client.value("ended") == "['InputCancelled']"


def test_input_for_ended_execution_is_rejected(client: Client) -> None:
    client.execute("1", execId="old")
    assert client.post("/input", {"execId": "old", "text": "x"})["accepted"] is False
    assert client.post("/input/cancel", {"execId": "old"})["cancelled"] is False


def test_children_read_eof_from_stdin(client: Client) -> None:
    """Child processes cannot request input from the client, and must not wait for it."""
    assert client.execute("!cat; echo done")["stdout"] == "done\n"
