"""Who may steer a run, and what becomes of everything else that lies among the commands."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trackside.config.experiment.inbox import (
    ANSWERED,
    FOLDER,
    Command,
    Inbox,
    Reply,
    ask,
    checked,
    read_answer,
)
from trackside.errors import UsageError

RUN = Path("run")
ASKED = RUN / FOLDER
VICTIM = Path("victim")


@pytest.fixture(autouse=True)
def folders() -> None:
    RUN.mkdir()
    VICTIM.write_text('{"kind": "stop", "value": ""}')


def _giant(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**40)


PLANTED: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to(VICTIM.absolute()),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "giant": _giant,
    "folder": lambda path: path.mkdir(),
    "folder with files": lambda path: (path / "inner").mkdir(parents=True),
    "empty": lambda path: path.touch(),
    "nested": lambda path: path.write_text("[" * 60_000),
    "nested in a command": lambda path: path.write_text('{"kind": "stop", "value": ' + "[" * 9_999),
    "bytes": lambda path: path.write_bytes(b"\xff\x00"),
    "list": lambda path: path.write_text("[]"),
    "number": lambda path: path.write_text('{"kind": 1, "value": ""}'),
    "no value": lambda path: path.write_text('{"kind": "stop"}'),
    "value is an object": lambda path: path.write_text('{"kind": "stop", "value": {}}'),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_what_is_no_command_is_refused_once_and_the_next_command_is_taken(
    plant: Callable[[Path], object],
) -> None:
    ASKED.mkdir(mode=0o700)
    plant(ASKED / "0.json")
    ask(RUN, Command("save"))
    inbox = Inbox(RUN)
    (stray, refused), (_, taken) = inbox.waiting()
    assert (stray, refused.kind) == ("0.json", "?")
    assert taken == Command("save")
    assert list(inbox.waiting()) == []
    assert json.loads(VICTIM.read_text())["kind"] == "stop"


def test_many_commands_are_taken_some_at_a_time() -> None:
    for _ in range(150):
        ask(RUN, Command("save"))
    inbox = Inbox(RUN)
    assert [len(list(inbox.waiting())) for _ in range(3)] == [100, 50, 0]


def test_the_folder_is_made_for_its_owner_alone() -> None:
    former = os.umask(0)
    try:
        ask(RUN, Command("save"))
    finally:
        os.umask(former)
    assert ASKED.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to_is_neither_read_nor_written(
    mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    ask(RUN, Command("stop"))
    ASKED.chmod(mode)
    inbox = Inbox(RUN)
    with caplog.at_level(logging.WARNING):
        assert list(inbox.waiting()) == []
        assert list(inbox.waiting()) == []
    assert caplog.text.count("other users may write") == 1
    with pytest.raises(UsageError, match="would not read"):
        ask(RUN, Command("stop"))


def test_a_folder_of_another_user_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(RUN, Command("stop"))
    os.chown(ASKED, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(
        os, "geteuid", lambda: 12345
    )
    assert list(Inbox(RUN).waiting()) == []


@pytest.mark.parametrize("place", [FOLDER, f"{FOLDER}/{ANSWERED}"])
def test_answers_are_not_written_through_a_link(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = Path("elsewhere")
    elsewhere.mkdir(mode=0o700)
    (RUN / place).parent.mkdir(mode=0o700, exist_ok=True)
    (RUN / place).symlink_to(elsewhere.absolute())
    with caplog.at_level(logging.WARNING):
        Inbox(RUN).answer("0.json", Reply(Command("save"), True, "done", 1))
    assert "can't be written" in caplog.text
    assert os.listdir(elsewhere) == []


def test_commands_are_not_read_through_a_link() -> None:
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    ask(elsewhere, Command("stop"))
    ASKED.symlink_to((elsewhere / FOLDER).absolute())
    assert list(Inbox(RUN).waiting()) == []


WRONG = [
    Command("?"),
    Command("rm"),
    Command("stop", "x" * 1001),
    Command("profile", "1001"),
    Command("profile", "9" * 5000),
    Command("profile", "-1"),
    Command("profile", ""),
    Command("evaluate", ""),
    Command("set", "a=1"),
    Command("set", "a.b"),
    Command("set", "a.b=" + "x" * 1000),
]


@pytest.mark.parametrize(
    "command", WRONG, ids=lambda command: f"{command.kind} {command.value[:9]}"
)
def test_a_command_that_no_command_line_would_have_let_through_is_refused(command: Command) -> None:
    with pytest.raises(UsageError):
        checked(command)


@pytest.mark.parametrize("content", ["", "[]", '{"command": 1}', '{"command": {}}', "[" * 60_000])
def test_what_is_no_answer_is_an_error(content: str) -> None:
    path = ASKED / ANSWERED / "0.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no answer"):
        read_answer(path)
