"""Options whose hint is `Secret` are known, and their values are in no message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from trackside import Callback, Run, Secret, Trainer
from trackside.errors import TracksideError
from trackside.secret import (
    as_written,
    environment_secrets,
    has_secret_name,
    keep_secret,
    secret_options,
)
from trackside.testing import tiny_regression

if TYPE_CHECKING:
    from trackside import Secret as Later

KEY = "hunter2-and-more"
Alias = Secret


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackside.secret._values", {})


class Posts(Callback[Run]):
    def __init__(self, key: Secret, place: str = "here") -> None:
        self.key = key
        self.place = place

    def on_step_end(self, run: Run) -> None:
        raise ValueError(f"no service for {self.key}")


class More(Posts):
    def __init__(self, other: Secret | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.other = other


@dataclass
class Fields:
    keys: list[Secret]
    url: Alias
    name: str = ""


def function(a: dict[str, Secret], b: int, c: Later | None = None) -> None: ...


@pytest.mark.parametrize(
    ("target", "names"),
    [(Posts, {"key"}), (More, {"key", "other"}), (Fields, {"keys", "url"}), (function, {"a"})],
)
def test_options_with_the_hint_are_secret(target: Any, names: set[str]) -> None:
    assert secret_options(target) >= names
    assert not secret_options(target) & {"place", "name", "b"}


def test_a_hint_that_only_type_checkers_can_read_goes_by_its_name() -> None:
    def typed(key, other) -> None: ...  # type: ignore[no-untyped-def]

    typed.__annotations__ = {"key": "Gone | Secret", "other": "Gone"}
    assert secret_options(typed) == {"key"}


def test_a_repr_names_the_option_and_not_its_value() -> None:
    assert repr(Posts(KEY, "there")) == "Posts((secret), place='there')"
    assert repr(More(other="abc", key=KEY)) == "More((secret))"


def test_a_short_value_is_not_in_the_repr_either() -> None:
    assert repr(Posts("abc")) == "Posts((secret))"


@pytest.mark.parametrize("value", [KEY, [KEY], {"Authorization": f"{KEY}"}, ("x", [KEY])])
def test_texts_of_any_form_are_not_shown(value: Any) -> None:
    keep_secret(value)
    assert as_written(f"no service for {KEY}") == "no service for (secret)"


def test_where_it_came_from_is_shown_if_that_is_known() -> None:
    keep_secret(KEY, "${oc.env:KEY}")
    keep_secret(KEY)
    assert as_written(KEY) == "${oc.env:KEY}"


def test_the_outcome_of_a_run_made_in_python_does_not_tell_it() -> None:
    task = tiny_regression()
    trainer: Trainer = task.trainer(callbacks=[Posts(KEY)])
    with pytest.raises(ValueError, match="no service"):
        trainer.fit(task.train, steps=2)
    assert trainer.result is not None
    assert trainer.result.outcome.reason.endswith("no service for (secret)")


def test_an_error_about_a_callback_does_not_tell_it() -> None:
    class Misspelt(Posts):
        def on_stp_end(self, run: Run) -> None: ...

    with pytest.raises(TracksideError) as info:
        tiny_regression().trainer(callbacks=[Misspelt(KEY)])
    assert KEY not in str(info.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("password", "db_password", "api_key", "token", "HF_TOKEN")),
        *((name, True) for name in ("client_secret", "access_key", "auth_token", "credentials")),
        *((name, False) for name in ("pad_token", "tokens", "sort_key", "key", "max_token")),
    ],
)
def test_an_option_is_secret_by_its_name(name: str, expected: bool) -> None:
    assert has_secret_name(name) is expected


def test_keys_of_services_in_the_environment_are_secret_and_paths_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_SERVICE_KEY", KEY)
    monkeypatch.setenv("MY_CREDENTIALS", "/srv/keys/credentials.json")
    monkeypatch.setenv("MY_SHORT_TOKEN", "training")
    monkeypatch.setenv("MY_FOLDER", "runs/of/somebody")
    found = {value: shown for value, shown in environment_secrets().items() if "MY_" in shown}
    assert found == {KEY: "${oc.env:MY_SERVICE_KEY}"}
    assert as_written(f"no service for {KEY}") == "no service for ${oc.env:MY_SERVICE_KEY}"
