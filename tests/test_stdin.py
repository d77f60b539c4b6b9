"""What a cell asks of the client that streams, and how that ends; tests/worker/test_stdin.py has each way to ask."""

from tests.client import Client, text_of


def test_prompt_is_printed_and_sent_with_the_request(client: Client) -> None:
    events = client.converse("input('Name? ')", "Ada")
    assert [event.name for event in events[:3]] == ["start", "stdout", "stdin_request"]
    assert events[1].data["content"] == "Name? "
    assert events[2].data == {"prompt": "Name? ", "password": False, "execId": "input('Name? ')"}


def test_cancelled_input_raises(client: Client) -> None:
    events = client.converse("input()", None)
    assert events[-2].data["type"] == "InputCancelled"
    caught = client.converse("try: input()\nexcept Exception as e: print(type(e).__name__)", None)
    assert text_of(caught, "stdout") == "InputCancelled\n"


def test_interrupt_ends_input_and_late_text_is_refused(client: Client) -> None:
    with client.streaming("input('? ')", execId="one") as events:
        assert [next(events).name for _ in range(3)][-1] == "stdin_request"
        assert client.post("/interrupt") == {"interrupted": True}
        assert next(event.data["type"] for event in events if event.name == "error") == "KeyboardInterrupt"
    assert client.post("/input", {"execId": "one", "text": "late"})["accepted"] is False
    assert text_of(client.converse("print(input())", "fresh"), "stdout") == "fresh\nfresh\n"


def test_cell_that_catches_interrupt_of_input_can_ask_again(client: Client) -> None:
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
    ask = "def ask():\n    try: input('thread? ')\n    except Exception as e: ended.append(type(e).__name__)"
    with client.streaming(f"import asyncio; ended = []\n{ask}\nawait asyncio.to_thread(ask)") as events:
        for event in events:
            if event.name == "stdin_request":
                client.post("/interrupt")
    assert text_of(client.converse("print(input('next? '))", "yes"), "stdout") == "next? yes\nyes\n"
    assert client.value("ended") == "['InputCancelled']"


def test_input_that_was_not_requested_is_refused(client: Client) -> None:
    client.execute("1", execId="old")
    for body in ({}, {"exec_id": "none", "text": "x"}, {"execId": "old", "text": "x"}, {"execId": 3}):
        assert client.post("/input", body)["accepted"] is False
        assert client.post("/input/cancel", body)["cancelled"] is False


def test_children_read_eof_from_stdin(client: Client) -> None:
    """They have no client to ask, and must not wait for one."""
    assert client.execute("!cat; echo done")["stdout"] == "done\n"
