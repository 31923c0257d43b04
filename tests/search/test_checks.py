"""Wrong sweeps of many kinds are refused before the first trial, each with the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.search.small_search import FILE
from trackside.errors import ConfigurationError
from trackside.search.sweep import Sweep, plan

WRONG = {
    # Written wrongly.
    "optimizer.lr=loguniform(1e-4, 1e-1)": "write it as log(1e-4, 1e-1)",
    "optimizer.momentum=tune.uniform(0, 0.9)": "write it as range(0, 0.5)",
    "optimizer.momentum=Range(0, 0.9)": "write it as range(0, 0.5)",
    "optimizer.momentum=range (0, 0.9)": "write it as range(0, 0.5)",
    "optimizer.momentum=range(0, 0.9": "write it as range(0, 0.5)",
    "optimizer.momentum=range(0; 0.9)": "two numbers are needed",
    "optimizer.momentum=range(0, 0.9, 0.1)": "two numbers are needed",
    "optimizer.weight_decay=log(0, 1)": "the lowest must be above 0",
    "loss=choice()": "two values are needed",
    "optimizer.momentum=choice(1, 1.0)": "each different from the others",
    "optimizer.nesterov=choice(true, 1)": "each different from the others",
    # Values that can't be trained.
    "loss=choice(mse, msee)": "did you mean `mse`",
    "trainer.epochs=range(1, 3)": "for whole numbers write int(1, 3)",
    "trainer.max_steps=log(1, 8)": "for whole numbers write int(1, 8, log)",
    "optimizer.lrr=log(1e-3, 1)": "did you mean `lr`",
    "optimizer.momentum=range(-1, 0.9)": "optimizer",
    # Options that have no effect in a sweep.
    "trainer.directory=choice(a, b)": "each trial has its folder",
    "trainer.resume=choice(auto, best)": "newest checkpoint",
    "evaluate=choice(val, train)": "evaluates nothing afterwards",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "small.yaml").write_text(FILE)
    return tmp_path / "small.yaml"


def asked(file: Path, *overrides: str) -> Sweep:
    return plan([str(file)], overrides, file.parent / "sweep", 3)


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_sweep_is_refused_with_the_way(file: Path, override: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(WRONG[override])):
        asked(file, override)

    assert not (file.parent / "sweep").exists()


def test_options_that_a_sweep_decides_are_named_where_they_stand_in_the_file(file: Path) -> None:
    written = "trainer.directory=runs/one", "trainer.resume=auto", "optimizer.lr=log(1e-4, 1e-1)"

    assert asked(file, *written).without_effect == (
        "trainer.directory has no effect in a sweep: each trial has its folder in that of the "
        "sweep",
        "trainer.resume has no effect in a sweep: each trial goes on from its newest checkpoint",
    )
    assert asked(file, "optimizer.lr=log(1e-4, 1e-1)").without_effect == ()


def test_a_remote_folder_is_refused_with_the_way_to_have_one(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="callback `upload`") as caught:
        asked(file, "trainer.directory=memory://bucket/run", "optimizer.lr=log(1e-4, 1e-1)")

    assert caught.value.option == "trainer.directory"


def test_values_that_can_be_trained_with_some_of_the_others_are_not_refused(file: Path) -> None:
    """Nesterov's momentum is refused with a momentum of 0, which is the first."""
    varied = asked(
        file, "optimizer.momentum=choice(0, 0.9)", "optimizer.nesterov=choice(false, true)"
    )

    assert len(varied.space) == 3


def test_a_text_that_only_looks_like_a_call_is_no_range(file: Path) -> None:
    assert [one.key for one in asked(file, "trainer.directory=runs(1)").space] == ["optimizer.lr"]
