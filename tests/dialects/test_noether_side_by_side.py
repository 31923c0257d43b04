"""The callbacks that Noether ships, in its own trainer and in Trackside, on one task.

The same recorder stands behind each of them in both: events, counters, losses and what is in the
log cache agree, and so do the values that are written, what the callback keeps, and its files.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.dialects.compared import NOETHER, ONLINE, SEVERAL
from trackside import Scheduler, Settings, Trainer
from trackside.dialects import state_file
from trackside.dialects.noether.provided import injected

pytest.importorskip("noether")

from noether.core.callbacks import CallbackBase, PeriodicCallback
from noether.core.models import Model
from noether.core.providers import MetricPropertyProvider, PathProvider
from noether.core.schemas import BaseTrainerConfig
from noether.core.schemas import callbacks as configurations
from noether.core.schemas.dataset import DatasetBaseConfig
from noether.core.schemas.models import ModelBaseConfig
from noether.core.trackers.noop import NoopTracker
from noether.data import Dataset
from noether.data.container import DataContainer
from noether.data.pipeline import Collator
from noether.training.trainers import BaseTrainer
from noether.training.trainers.types import TrainerResult

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

EPOCHS, BATCH_SIZE, ROWS = 3, 4, {"train": 12, "val": 8}
RATE, END_OF_RATE = 0.1, 0.05
WRITES_TIMES = re.compile("train_time/")
SUMMARY = re.compile("ds_stats/|param_count/")
LEFT_OUT = re.compile(f"{WRITES_TIMES.pattern}|{SUMMARY.pattern}|train/loss$")
"""What isn't looked for in the cache: times, a summary, and what the run records itself."""
OF_WORKERS = {"getitem", "collate"}
"""Times that aren't told here: those of reading items and of collating them."""


class Rows(Dataset):  # type: ignore[misc]
    """Sums of two numbers."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(DatasetBaseConfig(kind="Rows"))
        self.pipeline = Collator()
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(count, 2, generator=generator)

    def __len__(self) -> int:
        return len(self.inputs)

    def getitem_x(self, index: int) -> Tensor:
        return self.inputs[index]

    def getitem_y(self, index: int) -> Tensor:
        return self.inputs[index].sum(0, keepdim=True)


class Linear(Model):  # type: ignore[misc]
    """One layer."""

    def __init__(self, **optimizer: Any) -> None:
        super().__init__(ModelBaseConfig(kind="Linear", name="linear", **optimizer))
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found


def losses(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and what else a step of the task returns."""
    prediction = model(batch["x"])
    return nn.functional.mse_loss(prediction, batch["y"]), {"prediction": prediction.mean()}


class TheirTrainer(BaseTrainer):  # type: ignore[misc]
    """Their trainer, with callbacks that are made for it."""

    made: Any

    def train_step(self, batch: Any, model: nn.Module) -> TrainerResult:
        loss, outputs = losses(model, batch)
        return TrainerResult(total_loss=loss, losses_to_log=None, additional_outputs=outputs)

    def get_user_callbacks(self, model: Any, evaluation: bool = False) -> list[Any]:
        given = self._get_default_callback_kwargs(model)
        self.made = [kind(**options, **given) for kind, options in self.wanted]
        return list(self.made)


class OurTrainer(Trainer):
    """Ours, with the same step."""

    def training_step(self, run: Any, batch: Any) -> Any:
        loss, outputs = losses(run.model, batch)
        return {"loss": loss, **outputs}


class Recorder(PeriodicCallback):  # type: ignore[misc]
    """Notes each hook, with its counters and what it holds."""

    def __init__(self, **given: Any) -> None:
        super().__init__(configurations.CallBackBaseConfig(every_n_epochs=1), **given)
        self.seen: list[Any] = []

    def note(self, hook: str, counter: Any, **values: Any) -> None:
        place = [str(counter.cur_iteration), counter.is_finished, counter.updates_per_epoch]
        cache = {} if self.writer.log_cache is None else self.writer.log_cache
        keys = [key.removesuffix("/default") for key in cache if "/" in key]
        written = [key for key in keys if not LEFT_OUT.match(key)]
        self.seen.append((hook, place, sorted(written), values))

    def before_training(self, *, update_counter: Any) -> None:
        self.note("before_training", update_counter, training=self.model.training)

    def track_after_accumulation_step(self, *, update_counter: Any, **given: Any) -> None:
        values = {name: round(float(loss), 5) for name, loss in given["losses"].items()}
        outputs = {name: round(float(one), 5) for name, one in given["update_outputs"].items()}
        # Their document counts in the update, their trainer in the epoch; here it is the former.
        steps = (given["accumulation_steps"], given["accumulation_step"] % 1)
        size = len(given["batch"]["x"])
        self.note("accumulation", update_counter, **values, **outputs, steps=steps, size=size)

    def track_after_update_step(self, *, update_counter: Any, times: Any) -> None:
        self.note(
            "update",
            update_counter,
            times=sorted(set(times) - OF_WORKERS),
            training=self.model.training,
        )

    def periodic_callback(self, *, interval_type: str, update_counter: Any, **_: Any) -> None:
        self.note("periodic", update_counter, interval=interval_type)

    def after_training(self, *, update_counter: Any) -> None:
        self.note("after_training", update_counter, training=self.model.training)


def made_of(name: str, more: Any = None) -> tuple[type, dict[str, Any]]:
    """The class of a callback, and the arguments that its case gives it."""
    callbacks = pytest.importorskip("noether.core.callbacks")
    offline = pytest.importorskip("noether.training.callbacks")
    profiler = pytest.importorskip("noether.training.callbacks.profiler")
    place = next(one for one in (callbacks, offline, profiler) if hasattr(one, name))
    options = dict(NOETHER[name].options if more is None else more)
    if not options:
        return getattr(place, name), {}
    kind = getattr(configurations, f"{name}Config", configurations.CallBackBaseConfig)
    return getattr(place, name), {"callback_config": kind(**options)}


def before(name: str) -> list[tuple[type, dict[str, Any]]]:
    """The callback that writes what this one reads."""
    reads = ONLINE in map(str, NOETHER[name].options.values())
    return [made_of("OnlineLossCallback")] if reads else []


class Seen:
    """What came of a run."""

    def __init__(self, recorder: Any, built_in: Any, model: nn.Module) -> None:
        self.events = recorder.seen
        self.kept = {
            name: plain(value)
            for name, value in vars(built_in).items()
            if name not in GIVEN and "time" not in name
        }
        self.weights = copy.deepcopy(model.state_dict())
        self.written: dict[str, list[Any]] = {}
        self.summary: dict[str, float] = {}
        self.files: dict[str, dict[str, Tensor]] = {}


GIVEN = {
    *("trainer", "model", "data_container", "tracker", "writer", "checkpoint_writer"),
    *("metric_property_provider", "_logger", "callback_config", "sampler_config", "name", "out"),
}
"""Attributes that are parts of the run."""


def plain(value: Any) -> Any:
    """A value that can be compared: tensors as numbers, rounded; other objects as their kind."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 5)
    return value if isinstance(value, (bool, int, str, type(None))) else type(value).__name__


def theirs(name: str, folder: Path, more: Any = None) -> Seen:
    paths, properties = PathProvider(folder, "run"), MetricPropertyProvider()
    tracker = NoopTracker(properties, paths)
    trainer = TheirTrainer(
        BaseTrainerConfig(
            kind="TheirTrainer",
            max_epochs=EPOCHS,
            effective_batch_size=BATCH_SIZE,
            callbacks=None,
            add_default_callbacks=False,
            add_trainer_callbacks=False,
        ),
        data_container=DataContainer(
            {name: Rows(count, seed) for seed, (name, count) in enumerate(ROWS.items())},
            num_workers=0,
            pin_memory=False,
        ),
        device="cpu",
        tracker=tracker,
        path_provider=paths,
        main_sampler_kwargs={"shuffle": False},
        metric_property_provider=properties,
    )
    trainer.wanted = [*before(name), made_of(name, more), (Recorder, {})]
    schedule = {
        "kind": "noether.core.schedules.LinearDecreasingSchedule",
        "max_value": RATE,
        "end_value": END_OF_RATE,
    }
    optimizer = {
        "kind": "torch.optim.SGD",
        "lr": RATE,
        "schedule_config": schedule,
        "exclude_bias_from_weight_decay": False,
    }
    model = Linear(optimizer_config=optimizer)
    model.update_counter = trainer.update_counter
    trainer.train(model)
    *_, built_in, recorder = trainer.made
    seen = Seen(recorder, built_in, model)
    for entry in trainer.log_writer.log_entries:
        for key in sorted(set(entry) - {"epoch", "update", "sample"}):
            name = key.removesuffix("/default")  # of a parameter group that has no name here
            seen.written.setdefault(name, []).append((entry["update"], plain(entry[key])))
    seen.summary = {
        key: plain(float(value)) for key, value in tracker.summary.items() if SUMMARY.match(key)
    }
    for path in paths.checkpoint_path.glob("*_model.th"):
        tag = path.name.removeprefix("linear_").removesuffix("_model.th").replace("cp=", "")
        seen.files[tag] = torch.load(path)["state_dict"]
    return seen


def ours(name: str, folder: Path, more: Any = None) -> Seen:
    kind, options = made_of(name, more)
    model = Linear()
    trainer = OurTrainer(
        model,
        optimizer=lambda p: torch.optim.SGD(p, lr=RATE),
        scheduler=Scheduler(
            lambda optimizer: torch.optim.lr_scheduler.LinearLR(
                optimizer,
                1.0,
                END_OF_RATE / RATE,
                total_iters=EPOCHS * ROWS["train"] // BATCH_SIZE - 1,
            ),
            interval="step",
        ),
        callbacks=[
            *(injected(kind, options["callback_config"]) for kind, options in before(name)),
            injected(kind, options.get("callback_config")),
            injected(Recorder, None),
        ],
        defaults=False,
        settings=Settings(device="cpu", directory=folder),
    )
    data: dict[str, DataLoader[Any]] = {
        name: DataLoader(Rows(count, seed), BATCH_SIZE, collate_fn=Collator())
        for seed, (name, count) in enumerate(ROWS.items())
    }
    result = trainer.fit(data.pop("train"), epochs=EPOCHS, data=data)
    *_, built_in, recorder = (getattr(one, "foreign", one) for one in trainer.callbacks)
    seen = Seen(recorder, built_in, model)
    for key in result.history.names:
        points = [(step, plain(value)) for step, value in result.history.points(key)]
        if SUMMARY.match(key):
            seen.summary[key] = points[-1][1]
        elif key != "train/loss":
            seen.written[key] = points
    for path in (folder / "checkpoints").glob("*.safetensors"):
        state = state_file.read(path)
        if "model" in state:
            seen.files[path.stem.removeprefix("linear_")] = state["model"]
    return seen


def test_every_callback_of_the_package_is_in_the_table() -> None:
    pytest.importorskip("noether.training.callbacks.profiler")
    pytest.importorskip("noether.training.callbacks")
    shipped, kinds = set(), [CallbackBase]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__.startswith("noether.") and not kind.__subclasses__():
            shipped.add(kind.__name__)
    assert shipped == set(NOETHER)


CASES = [*((name, None) for name in NOETHER), *SEVERAL.items()]


@pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{name}{bool(more):d}" for name, more in CASES]
)
def test_events_values_and_files_are_those_of_their_own_trainer(
    name: str, options: Any, tmp_path: Path
) -> None:
    expected = theirs(name, tmp_path / "theirs", options)
    seen = ours(name, tmp_path / "ours", options)

    assert [event for event, *_ in seen.events] == [event for event, *_ in expected.events]
    assert seen.events == expected.events
    assert seen.kept == expected.kept
    assert {k: v for k, v in seen.written.items() if not WRITES_TIMES.match(k)} == {
        k: v for k, v in expected.written.items() if not WRITES_TIMES.match(k)
    }
    told = {key for key in expected.written if not OF_WORKERS & set(key.split("/"))}
    assert set(seen.written) == told
    assert seen.summary == expected.summary
    assert set(seen.files) == set(expected.files)
    for tag, weights in expected.files.items():
        torch.testing.assert_close(dict(seen.files[tag]), dict(weights))
    torch.testing.assert_close(seen.weights, expected.weights)
