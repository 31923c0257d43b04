"""No name of before is taken, and each is refused with the new one."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import trackside.distributed
from tests.config.files import good, write
from trackside import Callback, Run, Scheduler, Settings
from trackside.callbacks import Checkpoint, EarlyStopping, LRScheduler
from trackside.config import ExperimentError, load
from trackside.errors import MonitorError, TracksideError, UnknownHookError
from trackside.lifecycle.collection import CallbackCollection
from trackside.testing import tiny_regression
from trackside.vocabulary import renamed

ROOT = Path(__file__).parents[2]
RUN = Run("fit")
HOLDERS: dict[str, Any] = {"Run": RUN, "Progress": RUN.progress}
CALLED: dict[str, Any] = {
    "Settings": Settings,
    "Scheduler": lambda **options: Scheduler(torch.optim.lr_scheduler.ConstantLR, **options),
    "LRScheduler": lambda **options: LRScheduler("constant", **options),
    "Checkpoint": Checkpoint,
    "Run.save": RUN.save,
    "Run.evaluate": lambda **options: RUN.evaluate("val", **options),
}
FILES = {
    "parallel": good(("  epochs: 1", "  parallel: ddp\n  epochs: 1")),
    "at_error": good(more="callbacks: {checkpoint: {at_error: true}}\n"),
    "per": good(more="callbacks: {lr: {kind: LRScheduler, scheduler: ConstantLR, per: step}}\n"),
}


def told(old: str, new: str, error: BaseException) -> bool:
    return f"`{old}`" in str(error) and f"it is called `{new}` now" in str(error)


@pytest.mark.parametrize(("old", "new"), renamed.HOOKS.items())
def test_a_hook_of_before_is_refused_with_the_new_one(old: str, new: str) -> None:
    callback = type("Old", (Callback,), {old: lambda self, run: None})()
    with pytest.raises(UnknownHookError, match=f"it is called `{new}` now"):
        CallbackCollection([callback])
    assert hasattr(Callback, new)


@pytest.mark.parametrize(
    ("owner", "old", "new"),
    [(owner, *pair) for owner, table in renamed.ATTRIBUTES.items() for pair in table.items()],
)
def test_an_attribute_of_before_is_refused_with_the_new_one(owner: str, old: str, new: str) -> None:
    with pytest.raises(AttributeError) as info:
        getattr(HOLDERS[owner], old)
    assert isinstance(info.value, TracksideError)
    assert told(old, new, info.value)
    assert hasattr(HOLDERS[owner], new)


@pytest.mark.parametrize(
    ("owner", "old", "new"),
    [(owner, *pair) for owner, table in renamed.OPTIONS.items() for pair in table.items()],
)
def test_an_option_of_before_is_refused_with_the_new_one(owner: str, old: str, new: str) -> None:
    with pytest.raises(TypeError) as info:
        CALLED[owner](**{old: "step"})
    assert isinstance(info.value, TracksideError)
    assert told(old, new, info.value)


@pytest.mark.parametrize(
    ("old", "new"),
    sorted(
        {pair for o, t in renamed.OPTIONS.items() if not o.startswith("Run.") for pair in t.items()}
    ),
)
def test_a_key_of_before_is_refused_with_the_new_one(old: str, new: str) -> None:
    write(FILES[old])
    with pytest.raises(ExperimentError) as info:
        load("run.yaml")
    assert told(old, new, info.value)


def test_the_key_of_the_section_for_schedulers_is_refused_too() -> None:
    write(good(more="scheduler: {kind: ConstantLR, per: step}\n"))
    with pytest.raises(ExperimentError) as info:
        load("run.yaml")
    assert told("per", "interval", info.value)


@pytest.mark.parametrize(("old", "new"), renamed.VALUES.items())
def test_a_recorded_value_of_before_is_refused_with_the_new_one(old: str, new: str) -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[EarlyStopping(f"{old}loss")])
    with pytest.raises(MonitorError, match=f"it is called `{new}loss` now"):
        trainer.fit(task.train, epochs=1)


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        (trackside, "Limit", "RunLimit"),
        (trackside.distributed, "Place", "RankInfo"),
        (trackside.distributed, "Patience", "EndingTimes"),
    ],
)
def test_a_class_of_before_is_refused_with_the_new_one(
    package: ModuleType, old: str, new: str
) -> None:
    with pytest.raises(ImportError, match=f"it is called `{new}` now"):
        getattr(package, old)
    assert hasattr(package, new)


def test_an_attribute_that_never_was_is_an_ordinary_error() -> None:
    assert not hasattr(RUN, "xyzzy")
    assert not hasattr(RUN, "calling")


def test_no_text_still_uses_a_name_of_before() -> None:
    names = {*renamed.HOOKS, *(old for table in renamed.OPTIONS.values() for old in table)}
    quoted = re.compile("|".join(rf"`{re.escape(name)}[`=:]" for name in sorted(names)))
    texts = [*ROOT.glob("src/**/*.py"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/reference/**/*")]

    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in texts
        if path.is_file() and (match := quoted.search(path.read_text(encoding="utf-8")))
    }

    assert found == {}
