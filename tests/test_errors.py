"""Errors say what was expected, what came, and what to do."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside import errors
from trackside.errors import (
    CheckpointError,
    TracksideError,
    UnknownModelError,
    about,
    did_you_mean,
    nearest,
    note_on,
    printable,
    restoring,
)


def test_a_message_has_its_parts_on_lines_of_their_own() -> None:
    error = TracksideError("it broke", expected="a", received="b", remedy="do c")

    assert str(error) == "it broke\n  expected: a\n  received: b\n  to fix:   do c"
    assert (error.message, error.expected, error.received, error.remedy) == (
        "it broke",
        "a",
        "b",
        "do c",
    )
    assert str(TracksideError("it broke")) == "it broke"


def test_every_error_is_a_trackside_error_but_those_that_ask_for_the_end() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    ]

    assert {kind.__name__ for kind in kinds if not issubclass(kind, TracksideError)} == {
        "StopTraining",
        "Interrupted",
        "Terminated",
    }
    assert all(kind.__doc__ for kind in kinds)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("val/los", ["val/loss", "train/loss"], "did you mean `val/loss`?"),
        ("zzz", ["b", "a"], "one of: a, b"),
        ("zzz", [], None),
        (
            "zzz",
            [f"n{n:02}" for n in range(20)],
            "one of: " + ", ".join(f"n{n:02}" for n in range(12)) + ", ...",
        ),
    ],
)
def test_a_remedy_names_the_nearest_or_lists_a_few(
    word: str, known: list[str], said: str | None
) -> None:
    assert did_you_mean(word, known) == said


@given(word=st.text("abc_", min_size=3, max_size=9), place=st.integers(0, 8))
def test_a_word_with_one_letter_wrong_is_found(word: str, place: int) -> None:
    place %= len(word)
    wrong = word[:place] + "x" + word[place + 1 :]

    assert nearest(wrong, [word, "quite different"]) == word


def test_a_note_tells_another_error_once_and_without_the_first_inside() -> None:
    first = ValueError("first")
    try:
        try:
            raise first
        except ValueError:
            try:
                raise KeyError("cause")
            except KeyError as cause:
                raise OSError("other") from cause
    except OSError as other:
        note_on(first, "closing", other)

    (note,) = first.__notes__
    assert note.startswith("while closing, another error came up:\nTraceback")
    assert "KeyError: 'cause'" in note
    assert "OSError: other" in note
    assert "ValueError" not in note


def test_an_error_is_no_note_on_itself() -> None:
    error = ValueError("x")
    note_on(error, "closing", error)

    assert not hasattr(error, "__notes__")


def test_a_name_that_is_not_there_is_answered_with_the_nearest() -> None:
    error = UnknownModelError.among(["student", "teacher"], "techer", "to export", option="model")

    assert error.message == "there is no model named 'techer' to export"
    assert (error.expected, error.remedy) == ("one of student, teacher", "did you mean `teacher`?")
    assert error.option == "model"
    assert UnknownModelError.among([], "x").expected == "nothing: there is no model"


def test_an_error_that_is_a_key_error_as_well_stands_without_quotes() -> None:
    error: KeyError = UnknownModelError("there is no model")

    assert str(error) == "there is no model"


def test_an_error_survives_pickling_with_all_it_says() -> None:
    error = UnknownModelError.among(["a"], "b", option="model")
    again = pickle.loads(pickle.dumps(error))

    assert (str(again), vars(again)) == (str(error), vars(error))


def test_what_an_error_says_of_itself_is_nearer_than_what_is_said_around_it() -> None:
    with pytest.raises(TracksideError) as info, about(option="outer", callback="stop"):
        raise TracksideError("wrong", option="inner")

    assert (info.value.option, info.value.callback) == ("inner", "stop")


@given(text=st.text(st.characters(categories=["Cc", "Cf", "L", "N"])))
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    shown = printable(text)

    assert not [c for c in shown if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"]
    assert printable(shown) == shown
    if text.isalnum():
        assert shown == text


def test_any_error_of_who_takes_its_state_is_one_of_the_checkpoint() -> None:
    with (
        pytest.raises(CheckpointError, match=r"the optimizer is not the one .* KeyError: 'lr'"),
        restoring("the optimizer"),
    ):
        raise KeyError("lr")


def test_an_error_that_says_what_to_do_is_left_alone() -> None:
    with pytest.raises(CheckpointError, match=r"^as it is$"), restoring("the optimizer"):
        raise CheckpointError("as it is")
