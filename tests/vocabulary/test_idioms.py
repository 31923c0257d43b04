"""What users of other trainers type is refused with the native way, line by line of the tables."""

from __future__ import annotations

import inspect
import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import trackside.callbacks
from trackside import Callback, Run, Scheduler, Settings, Trainer, accuracy
from trackside.callbacks import LoadWeights
from trackside.errors import TracksideError, UnknownHookError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import HOOKS
from trackside.vocabulary import idioms, renamed
from trackside.vocabulary.idioms import UnknownOptionError

X, Y = torch.zeros(8, 4), torch.zeros(8, 1)
PAIRS = TensorDataset(X, Y)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def trainer(model: Any = None, **options: Any) -> Trainer:
    given = {"loss": nn.MSELoss(), "optimizer": sgd, "defaults": False, **options}
    return Trainer(nn.Linear(4, 1) if model is None else model, **given)


CALLED: dict[str, Callable[..., Any]] = {
    "Trainer": trainer,
    "Settings": Settings,
    "Trainer.fit": lambda **options: trainer().fit(PAIRS, **{"epochs": 1, **options}),
    "Trainer.evaluate": lambda **options: trainer().evaluate(PAIRS, **options),
    "Trainer.predict": lambda **options: trainer().predict(PAIRS, **options),
}
HOLDERS: dict[str, Any] = {"Trainer": Trainer, "Settings": Settings}


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "word", "native"),
    [(owner, *line) for owner, table in idioms.KEYWORDS.items() for line in table.items()],
)
def test_a_keyword_of_another_trainer_is_refused_with_the_native_way(
    owner: str, word: str, native: str
) -> None:
    with pytest.raises(TypeError) as info:
        CALLED[owner](**{word: 1})
    assert isinstance(info.value, TracksideError)
    assert f"`{owner}` has no option `{word}`" in str(info.value)
    assert native in str(info.value)
    assert info.value.option == word


@pytest.mark.parametrize("owner", idioms.KEYWORDS)
def test_no_keyword_of_the_table_is_one_of_ours(owner: str) -> None:
    holder, _, method = owner.partition(".")
    call = getattr(HOLDERS[holder], method) if method else HOLDERS[holder]
    assert not idioms.KEYWORDS[owner].keys() & inspect.signature(call).parameters.keys()


@pytest.mark.parametrize("owner", idioms.KEYWORDS)
def test_a_keyword_that_nobody_has_is_refused_with_the_nearest(owner: str) -> None:
    holder, _, method = owner.partition(".")
    call = getattr(HOLDERS[holder], method) if method else HOLDERS[holder]
    last = list(inspect.signature(call).parameters)[-1]
    with pytest.raises(UnknownOptionError, match=f"did you mean `{last}`"):
        CALLED[owner](**{last + "s": 1})


def test_a_signature_stays_as_it_is_typed() -> None:
    parameters = inspect.signature(Trainer).parameters
    assert "optimizer" in parameters
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@pytest.mark.parametrize(
    ("owner", "word", "native"),
    [(owner, *line) for owner, table in idioms.ATTRIBUTES.items() for line in table.items()],
)
def test_a_method_of_another_trainer_is_refused_with_the_native_way(
    owner: str, word: str, native: str
) -> None:
    with pytest.raises(AttributeError) as info:
        getattr(trainer(), word)
    assert isinstance(info.value, TracksideError)
    assert native in str(info.value)
    assert not hasattr(HOLDERS[owner], word)


def test_a_subclass_may_have_a_method_of_such_a_name() -> None:
    class Own(Trainer):
        def test(self) -> int:
            return 7

    assert Own(nn.Linear(1, 1), defaults=False).test() == 7


@pytest.mark.parametrize(("word", "native"), idioms.HOOKS.items())
def test_a_hook_of_another_trainer_is_refused_with_ours(word: str, native: str) -> None:
    callback = type("Theirs", (Callback,), {word: lambda self, run: None})()
    with pytest.raises(UnknownHookError, match=f"`{native}` comes then"):
        CallbackCollection([callback])
    assert native in HOOKS
    assert word not in HOOKS
    assert word not in renamed.HOOKS


def foreign(package: str, name: str, **methods: Any) -> Any:
    return type(name, (), {**methods, "__module__": f"{package}.callbacks"})


@pytest.mark.parametrize(("package", "called"), idioms.PACKAGES.items())
@pytest.mark.parametrize("instance", [True, False])
def test_a_callback_of_another_trainer_is_refused_with_hooks_of_ours(
    package: str, called: str, instance: bool
) -> None:
    kind = foreign(package, "Theirs", on_train_batch_end=lambda self: None)
    with pytest.raises(TracksideError, match="with `on_batch_end`") as info:
        trainer(callbacks=[kind() if instance else kind])
    assert f"made for {called}" in str(info.value)


@pytest.mark.parametrize(("name", "ours"), idioms.CALLBACKS.items())
def test_a_shipped_callback_of_another_trainer_is_refused_with_ours(name: str, ours: str) -> None:
    with pytest.raises(TracksideError, match=rf"`trackside\.callbacks\.{ours}` does it"):
        trainer(callbacks={"theirs": foreign("composer", name)()})
    assert hasattr(trackside.callbacks, ours)


@pytest.mark.parametrize(("word", "native"), idioms.PRECISIONS.items())
def test_a_number_format_is_refused_with_our_word_for_it(word: str, native: str) -> None:
    with pytest.raises(TracksideError, match=f"it is called `{native}` here"):
        trainer(precision=word)
    trainer(precision=native)


# --- values --------------------------------------------------------------------------------------

OPTIMIZER = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
STEP_LR = torch.optim.lr_scheduler.StepLR(OPTIMIZER, 1)


class Needy(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()


def make(width: int) -> nn.Module:
    return nn.Linear(width, 1)


class Nothing(Trainer):
    def training_step(self, run: Run, batch: Any) -> Any:
        return None


VALUES: dict[str, tuple[Callable[[], Any], str]] = {
    "a scheduler object": (
        lambda: trainer(scheduler=STEP_LR),
        "`scheduler=lambda optimizer: StepLR(optimizer, ...)`",
    ),
    "several schedulers": (lambda: trainer(scheduler=[STEP_LR]), "SequentialLR("),
    "a scheduler by name": (
        lambda: trainer(scheduler="StepLR"),
        "lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, ...)",
    ),
    "an optimizer by name": (
        lambda: trainer(optimizer="adamw"),
        "lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)",
    ),
    "a loss by name": (lambda: trainer(loss="mse"), "`loss=nn.CrossEntropyLoss()`"),
    "a loss class": (lambda: trainer(loss=nn.MSELoss), "make an instance: `loss=MSELoss()`"),
    "a list of metrics": (lambda: trainer(metrics=[accuracy]), "metrics={'accuracy': accuracy}"),
    "a single metric": (lambda: trainer(metrics=accuracy), "metrics={'accuracy': accuracy}"),
    "a metric by name": (lambda: trainer(metrics="accuracy"), "metrics={'accuracy': accuracy}"),
    "precision 16": (lambda: trainer(precision=16), "it is called `fp16` here"),
    "precision 32": (lambda: trainer(precision=32), "it is called `fp32` here"),
    "a type as precision": (lambda: trainer(precision=torch.bfloat16), "called `bf16` here"),
    "a single callback": (lambda: trainer(callbacks=Callback()), "also for a single one"),
    "a function as a callback": (
        lambda: trainer(callbacks=[lambda run: None]),
        "`on(Callback.on_epoch_end)(function)`",
    ),
    "a callback class": (
        lambda: trainer(callbacks=[Callback]),
        "make an instance",
    ),
    "a model class": (lambda: trainer(Needy), "make it: `Needy(...)`"),
    "a function of a width": (lambda: trainer(make), "`lambda: make(...)`"),
    "a lazy model": (
        lambda: trainer(nn.LazyLinear(1)).fit(PAIRS, epochs=1),
        "let it see one batch before",
    ),
    "a lazy norm": (
        lambda: trainer(nn.Sequential(nn.Linear(4, 1), nn.LazyBatchNorm1d())).fit(PAIRS, epochs=1),
        "let it see one batch before",
    ),
    "fit(model)": (lambda: trainer().fit(nn.Linear(4, 1), epochs=1), "belongs to the trainer"),
    "fit(model, data)": (
        lambda: trainer().fit(nn.Linear(4, 1), PAIRS, epochs=1),
        "belongs to the trainer",
    ),
    "fit(x, y)": (lambda: trainer().fit(X, Y, epochs=1), "trainer.fit(TensorDataset(x, y), "),
    "fit of arrays": (
        lambda: trainer().fit(X.numpy(), Y.numpy(), epochs=1),
        "trainer.fit(TensorDataset(x, y), ",
    ),
    "inputs and targets in a list": (
        lambda: trainer().fit([X, Y], epochs=1),
        "inputs and targets: `TensorDataset(x, y)`",
    ),
    "a list of vectors": (
        lambda: trainer().fit([(x, y) for x, y in zip(X, Y, strict=True)], epochs=1),
        "of samples, `DataLoader(data, batch_size=32, shuffle=True)`",
    ),
    "a table of columns": (
        lambda: trainer().fit(type("Frame", (), {"iloc": 0, "__len__": len})(), epochs=1),
        "give its arrays by name",
    ),
    "an optimizer that needs a closure": (
        lambda: trainer(optimizer=torch.optim.LBFGS).fit(PAIRS, epochs=1),
        "call `optimizer.step(closure)` from `training_step`",
    ),
    "a step that returns nothing": (
        lambda: Nothing(nn.Linear(4, 1), optimizer=sgd, defaults=False).fit(PAIRS, epochs=1),
        "`run.skip_step('why')` and return `Output(0 * loss, weight=0)`",
    ),
}


@pytest.mark.parametrize("given", VALUES)
def test_a_value_of_another_trainer_is_refused_with_the_native_way(given: str) -> None:
    call, native = VALUES[given]
    with pytest.raises(TracksideError) as info:
        call()
    assert native in str(info.value)


def pickled(path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump({"weight": 1}, file)


WRITERS: dict[str, Callable[[Path], None]] = {
    "zip": lambda path: torch.save(nn.Linear(4, 1).state_dict(), path),
    "old": lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
    "pickle": pickled,
}


@pytest.mark.parametrize("ending", [*idioms.PICKLED, ""])
@pytest.mark.parametrize("writer", WRITERS)
def test_weights_of_torch_save_are_refused_with_the_way_to_convert_them(
    ending: str, writer: str
) -> None:
    path = Path(f"model{ending}")
    WRITERS[writer](path)
    with pytest.raises(TracksideError, match="convert the weights once") as info:
        trainer(callbacks=[LoadWeights(path)]).fit(PAIRS, epochs=1)
    assert f"LoadWeights({'model.safetensors'!r})" in str(info.value)


@pytest.mark.parametrize("ending", idioms.PICKLED)
def test_a_resume_from_torch_save_is_refused_with_the_way_to_convert_it(ending: str) -> None:
    torch.save({}, f"model{ending}")
    with pytest.raises(TracksideError, match="convert the weights once"):
        trainer().fit(PAIRS, epochs=1, resume=f"model{ending}")


def test_the_native_ways_train() -> None:
    def twice(scheduler: Any) -> None:
        trainer(
            scheduler=scheduler, precision="bf16", metrics={"off": lambda p, t: (p - t).mean()}
        ).fit(PAIRS, PAIRS, epochs=1)

    twice(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1))
    twice(Scheduler(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1)))
    trainer().fit((X, Y), epochs=1)
    twice({"optimizer": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1)})


def test_a_module_of_a_dialect_is_no_foreign_package() -> None:
    assert idioms.package_of(types.SimpleNamespace()) is None
