"""The code of the five documents runs as it stands, and its callbacks do what they are for.

The documents are read from beside the repository (see documents.py). Names that a document takes
for granted (its trainer, a model, a data base) are made here; imports of the framework's name lead
to the dialect, within a test only.
"""

from __future__ import annotations

import functools
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.dialects.documents import Block, blocks, document, folder
from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Callback as Native
from trackside import Settings
from trackside import Trainer as NativeTrainer
from trackside.config import load
from trackside.dialects import (
    adaptive_neural_network,
    dream_trainer,
    nn_handler,
    noether,
    pytorch_accelerated,
    state_file,
)
from trackside.outcome import Status
from trackside.testing import tiny_classification, tiny_regression

NN, AN, PA, NO, DT = range(5)

NO_CODE = {
    (AN, 20): "a picture of the lifecycle; test_an_01 holds it",
    (AN, 313): "a picture of the order; test_an_06 holds it",
    (NO, 86): "YAML; test_the_yaml_of_noether_builds_a_callback reads it",
}
"""Blocks that aren't Python, by document and line."""

BROKEN = {
    (PA, 94): "the body of the class isn't indented: run here with its indentation put right",
    (NO, 102): "a class without a body: run here with a `pass` in it",
}
"""Blocks that are no Python as they stand, and what was done to run them."""


def blocks_of(number: int) -> list[Block]:
    text = document(number)
    if text is None:
        pytest.skip(f"document {number} isn't in {folder()}; set TRACKSIDE_DOCUMENTS")
    return blocks(text)


def repaired(number: int, block: Block) -> str:
    if (number, block.line) == (PA, 94):
        first, _, rest = block.code.partition("\n")
        return first + "\n" + re.sub(r"^(?=.)", "    ", rest, flags=re.M)
    if (number, block.line) == (NO, 102):
        return re.sub(r"(class \w+Config\(.*\):\n)", r"\1    pass\n", block.code)
    return block.code


def execute(number: int, block: Block, namespace: dict[str, Any]) -> dict[str, Any]:
    """Run a block; a traceback points at the line of the document."""
    padded = "\n" * (block.line - 1) + repaired(number, block)
    exec(compile(padded, f"document {number}", "exec", dont_inherit=True), namespace)
    return namespace


def run_all(number: int, namespace: dict[str, Any]) -> dict[str, Any]:
    """Run all Python blocks of a document in one namespace."""
    for block in blocks_of(number):
        if block.language == "python":
            execute(number, block, namespace)
    return namespace


def module(name: str, **contents: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(contents)
    return made


def alias(monkeypatch: pytest.MonkeyPatch, names: dict[str, dict[str, Any]]) -> None:
    """Modules under other names, with their packages, for the length of a test."""
    for name, contents in names.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            package = ".".join(parts[:end])
            if package not in names:
                monkeypatch.setitem(sys.modules, package, module(package))
        monkeypatch.setitem(sys.modules, name, module(name, **contents))
        for end in range(1, len(parts)):
            above = sys.modules[".".join(parts[:end])]
            below = sys.modules[".".join(parts[: end + 1])]
            monkeypatch.setattr(above, parts[end], below, raising=False)


def public(source: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(source).items() if not name.startswith("_")}


def test_every_block_is_run_or_listed_with_a_reason() -> None:
    listed = {}
    for number in range(5):
        for block in blocks_of(number):
            if block.language != "python" or not block.parses:
                listed[number, block.line] = block
    assert set(listed) == {*NO_CODE, *BROKEN}


# --- nn_handler --------------------------------------------------------------------------------


class HandlerOutside:
    """Stands for their `NNHandler`: trains the tiny task, whatever it is given."""

    def __init__(self, *_: Any) -> None:
        self.trainer, self.task = trainer_of([])

    def add_callback(self, callback: Any) -> None:
        self.trainer.callbacks.append(callback)

    def train(self, *_: Any) -> None:
        self.result = self.trainer.fit(self.task.train, self.task.validation, epochs=2)


def test_the_code_of_nn_handler_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "src.nn_handler": {"NNHandler": HandlerOutside},
        "src.nn_handler.callbacks": public(nn_handler),
    }
    alias(monkeypatch, names)

    found = run_all(NN, {})

    assert found["handler"].result.outcome.status is Status.COMPLETED
    best = found["checkpoint_cb"].best
    assert best == min(found["handler"].result.history.values("val/loss"))
    assert "weight" in state_file.read("models/best.pth")["model"]


def test_the_base_class_of_nn_handler_has_the_hooks_of_the_table() -> None:
    theirs = execute(NN, blocks_of(NN)[0], {})["Callback"]

    assert hooks_of(theirs) == hooks_of(nn_handler.Callback)
    assert set(nn_handler.TABLE) <= hooks_of(theirs)


# --- adaptive neural network -------------------------------------------------------------------


def adaptive(**more: Any) -> dict[str, Any]:
    import time

    return {**public(adaptive_neural_network), "time": time, **more}


class Norms(Native):
    """What the example of a gradient norm should print."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_backward_end(self, run: Any, loss: Any) -> None:
        gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
        self.norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))


def test_the_hooks_that_an_shows_run_together_and_print_what_is_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    functions: dict[str, Any] = {}
    for block in blocks_of(AN):
        if block.code.startswith("def on_"):
            functions |= execute(AN, block, adaptive())
    hooks = {name: functions[name] for name in adaptive_neural_network.TABLE if name in functions}
    example = type("Example", (adaptive_neural_network.Callback,), hooks)()
    example.best_loss = float("inf")
    norms = Norms()
    result = fit(example, norms, epochs=2)

    printed = capsys.readouterr().out
    assert len(hooks) == 7
    assert "2 epochs" in printed
    assert re.findall(r"(\d)/2\n", printed) == ["1", "2"]
    shown = [float(text) for text in re.findall(r"norm: ([\d.]+)", printed)]
    assert shown == pytest.approx(norms.norms, abs=1e-4)
    assert len(shown) == 6
    losses = result.history.values("val/loss")
    saved = [path.name for path in Path().glob("best_model_epoch_*.pt")]
    expected = [n for n, loss in enumerate(losses) if loss == min(losses[: n + 1])]
    assert sorted(saved) == [f"best_model_epoch_{n}.pt" for n in expected]
    assert "weight" in state_file.read(saved[0])["model"]
    assert example.best_loss == min(losses)


class Trained(type):
    """Trains with each callback that is made: what the document leaves to the reader."""

    def __call__(cls, *arguments: Any) -> Any:
        made = super().__call__(*arguments)
        fit(made)
        return made


class PositionalTrainer(NativeTrainer):
    """Their trainer's way of being made."""

    def __init__(self, model: Any, optimizer: Any, criterion: Any, callbacks: Any) -> None:
        settings = Settings(device="cpu", directory="run")
        super().__init__(
            model,
            optimizer=optimizer,
            loss=criterion,
            callbacks=callbacks,
            defaults=False,
            settings=settings,
        )


def an_examples(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The classes of the document, from its blocks as they stand."""
    alias(
        monkeypatch,
        {"adaptiveneuralnetwork.training.callbacks": public(adaptive_neural_network)},
    )
    found = adaptive()
    for block in blocks_of(AN):
        if block.code.startswith(("class ", "from ")) and "MockCallback" not in block.code:
            execute(AN, block, found)
    return found


def test_the_template_of_an_joins_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    template = an_examples(monkeypatch)["MyCallback"]("one", param2="two")

    assert fit(template).outcome.status is Status.COMPLETED
    assert (template.param1, template.param2) == ("one", "two")


def test_the_early_stopping_of_an_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = an_examples(monkeypatch)["EarlyStoppingCallback"](patience=2, min_delta=100.0)

    result = fit(stopping, epochs=30)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.asked_by == "EarlyStoppingCallback"
    assert result.outcome.step == 3 * 3
    assert "epoch 2" in capsys.readouterr().out


def test_the_scheduler_of_an_moves_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tiny_regression()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    callback = an_examples(monkeypatch)["LRSchedulerCallback"](scheduler)

    fit(callback, task=task, optimizer=optimizer)

    assert optimizer.param_groups[0]["lr"] == 0.025
    assert "0.050000" in capsys.readouterr().out


def test_the_wandb_callback_of_an_sends_and_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    finished = SimpleNamespace(finish=lambda: sent.append("finished"))
    fake = module(
        "wandb",
        init=lambda project, name: finished,
        log=lambda logs, step: sent.append((step, dict(logs))),
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)

    result = fit(an_examples(monkeypatch)["WandbCallback"]("project"))

    assert [logs["val_loss"] for _, logs in sent[:-1]] == result.history.values("val/loss")
    assert [step for step, _ in sent[:-1]] == [0, 1]
    assert sent[-1] == "finished"


@pytest.mark.parametrize("fails", [False, True])
def test_the_tensorboard_callback_of_an_writes_and_closes(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Native):
        def on_epoch_end(self, run: Any, metrics: Any) -> None:
            raise ValueError("no")

    callback = an_examples(monkeypatch)["TensorBoardCallback"](log_dir="board")
    closed: list[bool] = []
    close = callback.writer.close
    monkeypatch.setattr(callback.writer, "close", lambda: (closed.append(True), close()))  # type: ignore[func-returns-value]

    if fails:
        with pytest.raises(ValueError, match="no"):
            fit(callback, Failing())
    else:
        fit(callback)

    assert closed == [True]
    assert [path.name for path in Path("board").iterdir()]


def test_the_checkpoints_of_an_are_the_best_and_load(monkeypatch: pytest.MonkeyPatch) -> None:
    saving = an_examples(monkeypatch)["ModelCheckpointCallback"](filepath="kept/{epoch}.pt")
    trainer, task = trainer_of([saving])

    result = trainer.fit(task.train, task.validation, epochs=3)

    losses = result.history.values("val/loss")
    best = losses.index(min(losses))
    assert saving.best_value == min(losses)
    assert state_file.read(f"kept/{best}.pt")["epoch"] == best


def test_the_order_that_an_shows_is_that_of_the_list() -> None:
    seen: list[str] = []

    class Noting(adaptive_neural_network.Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_epoch_begin(self, epoch: int, trainer: Any, logs: Any = None) -> None:
            seen.append(self.name)

    task = tiny_regression()
    names = {f"callback{n}": Noting(f"callback{n}") for n in (1, 2, 3)}
    block = next(b for b in blocks_of(AN) if b.code.startswith("trainer = Trainer("))
    parts = {"model": task.model, "optimizer": task.optimizer, "criterion": task.loss}

    found = execute(AN, block, {"Trainer": PositionalTrainer, **parts, **names})
    found["trainer"].fit(task.train, epochs=1)

    assert seen == ["callback1", "callback2", "callback3"]


def test_the_mock_callback_of_an_is_called() -> None:
    base = Trained("Callback", (adaptive_neural_network.Callback,), {})
    block = next(b for b in blocks_of(AN) if "MockCallback" in b.code)

    found = execute(AN, block, {"Callback": base})

    assert found["callback"].calls[0] == ("on_epoch_begin", 0)


# --- pytorch-accelerated -----------------------------------------------------------------------


class AcceleratedTrainer(pytorch_accelerated.TrainerMethods, NativeTrainer):
    """Their `Trainer`, as Trackside's with their methods."""


def pa_examples() -> dict[str, Any]:
    import torchmetrics

    return run_all(
        PA,
        {
            **public(pytorch_accelerated),
            "Trainer": AcceleratedTrainer,
            # Torchmetrics' own names of the time: the task is now an argument.
            "ConfusionMatrix": functools.partial(torchmetrics.ConfusionMatrix, task="multiclass"),
            "Accuracy": functools.partial(torchmetrics.Accuracy, task="multiclass"),
        },
    )


def test_the_metrics_callback_of_pytorch_accelerated_counts_what_is_right() -> None:
    class Reading(pytorch_accelerated.TrainerCallback):
        def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            self.matrix = trainer.run_history.get_latest_metric("confusion_matrix")

    reading = Reading()
    counting = pa_examples()["ClassificationMetricsCallback"](num_classes=3)
    result = fit(counting, reading, task=tiny_classification())

    assert result.history.values("val/accuracy")[-1] > 0
    assert int(reading.matrix.sum()) == 10
    accuracy = float(reading.matrix.diag().sum() / reading.matrix.sum())
    assert result.history.latest("val/accuracy") == pytest.approx(accuracy)


@pytest.mark.parametrize("side", [28, 27])
def test_the_custom_event_of_pytorch_accelerated_verifies_batches(side: int) -> None:
    found = pa_examples()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 1, side, side, generator=generator)
    data = DataLoader(TensorDataset(images, torch.arange(8) % 2), batch_size=4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 2))
    trainer = found["TrainerWithCustomCallbackEvent"](
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        callbacks=[found["VerifyBatchCallback"]],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )

    if side == 28:
        assert trainer.fit(data, epochs=1).outcome.step == 2
    else:
        with pytest.raises(AssertionError) as caught:
            trainer.fit(data, epochs=1)
        assert any("verify_train_batch" in note for note in caught.value.__notes__)


# --- Noether -----------------------------------------------------------------------------------


class Rows(Dataset[Any]):
    """Items that are mappings, as Noether's are."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": torch.full((2,), float(index))}


class Mapped(nn.Module):
    """A model that is called with the keys of a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.linear(x)
        return output


class MappedTrainer(NativeTrainer):
    def training_step(self, run: Any, batch: Any) -> Any:
        return run.model(**batch).mean()


def test_the_custom_callback_of_noether_aggregates_over_the_data_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alias(
        monkeypatch,
        {
            "noether.core.schemas.callbacks": public(noether),
            "noether.core.callbacks.periodic": public(noether),
            "noether.data.samplers": public(noether),
        },
    )
    found = run_all(NO, {})

    class Sampled(found["MyCustomCallback"]):  # type: ignore[misc, name-defined, valid-type]
        # In the document, its arguments are left out.
        def register_sampler_config(self) -> Any:
            return noether.SamplerIntervalConfig(batch_size=2)

    config = found["CustomCallbackConfig"](every_n_epochs=1, dataset_key="rows")
    model = Mapped()
    trainer = MappedTrainer(
        model,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        callbacks=[Sampled(config)],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    result = trainer.fit(Rows(), epochs=2, data={"rows": Rows()})

    with torch.no_grad():
        expected = model(torch.stack([row["x"] for row in (Rows()[n] for n in range(5))])).mean()
    assert len(result.history.values("rows/custom_metric")) == 2
    assert result.history.latest("rows/custom_metric") == pytest.approx(float(expected))


def test_the_yaml_of_noether_builds_a_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[int] = []

    class CallbackClassName(noether.PeriodicCallback):
        def periodic_callback(self, *, update_counter: Any, **_: Any) -> None:
            due.append(update_counter.epoch)

    alias(monkeypatch, {"noether.core.callbacks": {"CallbackClassName": CallbackClassName}})
    block = next(b for b in blocks_of(NO) if b.language == "yaml")
    entries = yaml.safe_load(block.code)["callbacks"]

    trainer, task = trainer_of([noether.build(entry) for entry in entries])
    trainer.fit(task.train, epochs=2)

    assert trainer.callbacks.names == ("CallbackInstanceName",)
    assert due == [1, 2]

    Path("run.yaml").write_text(
        "model: {kind: Linear, in_features: 2, out_features: 1}\n"
        "loss: mse\n"
        "optimizer: {kind: sgd, lr: 0.1}\n"
        "trainer: {epochs: 1}\n"
        "data: {train: {kind: tests.dialects.test_documents.data}}\n" + block.code
    )
    made = load("run.yaml").trainer().callbacks["CallbackInstanceName"]
    assert isinstance(made, CallbackClassName)


def data() -> Any:
    return tiny_regression().train


# --- Dream Trainer -----------------------------------------------------------------------------


class DreamTrainerConfig(SimpleNamespace):
    """Stands for their configuration."""


class MyTrainer(dream_trainer.TrainerMethods, NativeTrainer):
    """A trainer on the tiny task with metrics."""

    def __init__(self, config: DreamTrainerConfig) -> None:
        self.task = tiny_classification()
        super().__init__(
            self.task.model,
            loss=self.task.loss,
            optimizer=self.task.optimizer,
            metrics=self.task.metrics,
            callbacks=config.callbacks,
            defaults=False,
            seed=0,
            settings=Settings(device="cpu", directory="experiment"),
        )

    def fit(self, *_: Any, **__: Any) -> Any:
        self.result = super().fit(self.task.train, self.task.validation, epochs=2)
        return self.result


class Connection:
    """Stands for a connection to a data base."""

    closed = False

    def close(self) -> None:
        self.closed = True


def named(name: str) -> Any:
    """A callback of a name that the document takes for granted."""
    return type(name, (dream_trainer.Callback,), {"__init__": lambda self, *_: None})


@pytest.fixture
def dream(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The namespace of the document after all of its blocks."""
    import time
    from typing import Any as AnyType

    from torch.optim import Optimizer

    kinds = {**public(dream_trainer), "DreamTrainerConfig": DreamTrainerConfig}
    alias(
        monkeypatch,
        {
            "dream_trainer.callbacks": kinds,
            "dream_trainer.trainer": kinds,
            "dream_trainer.trainer.mixins": kinds,
        },
    )
    granted = {
        name: named(name)
        for name in (
            "CustomMetricCallback",
            "NewCallback",
            "CustomCallback",
        )
    }
    theirs = ("ProgressBar", "CheckpointCallback", "ProfileCallback")
    granted |= {name: getattr(dream_trainer, name) for name in theirs}
    known = {"Any": AnyType, "time": time, "torch": torch, "nn": nn, "Optimizer": Optimizer}
    made = {"MyTrainer": MyTrainer, "create_database_connection": Connection}
    parameters = dream_trainer.CheckpointParameters(checkpoint_every_n_train_epochs=1)
    settings = {"checkpoint_config": parameters, "profiler": torch.profiler.profile()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the profiler's own, without an accelerator
        return run_all(DT, {**known, **granted, **made, **settings})


def trained(*callbacks: Any) -> Any:
    trainer = MyTrainer(DreamTrainerConfig(callbacks=list(callbacks)))
    return trainer.fit()


def test_the_code_of_dream_trainer_runs_and_its_trainers_train(dream: dict[str, Any]) -> None:
    # The trainer that the document makes last: callbacks were added and removed.
    names = dream["trainer"].callbacks.names
    assert names[-1] == "NewCallback"
    assert "CustomCallback" not in names
    assert dream["trainer"].fit().outcome.status is Status.COMPLETED


def test_the_logging_callback_of_dream_trainer_writes_every_step(dream: dict[str, Any]) -> None:
    trained(dream["SimpleLoggingCallback"]("training.log"))

    lines = Path("training.log").read_text().splitlines()
    assert lines[0].endswith(" experiment")
    assert [re.findall(r"\d+", line)[0] for line in lines[1:-1]] == list("012012")
    assert len(lines) == 1 + 6 + 1


def test_the_metric_callback_of_dream_trainer_logs_each_metric(dream: dict[str, Any]) -> None:
    result = trained(dream["MetricLoggingCallback"]())

    history = result.history
    assert history.values("logged/val_accuracy") == pytest.approx(history.values("val/accuracy"))


def test_the_summary_of_dream_trainer_counts_parameters(
    dream: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trained(dream["ModelSummaryCallback"]())

    total = sum(p.numel() for p in tiny_classification().model.parameters())
    assert capsys.readouterr().out.count(f": {total:,}\n") == 2


def test_the_phases_of_dream_trainer_are_told(
    dream: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trained(dream["InitializationCallback"](), dream["TrainingCallback"]())

    printed = capsys.readouterr().out
    code = next(b.code for b in blocks_of(DT) if "class InitializationCallback" in b.code)
    phases = [printed.index(text) for text in re.findall(r'print\("(.*)"\)', code)]
    assert len(phases) == 5
    assert phases == sorted(phases)
    assert re.findall(r"poch (\d)", printed) == ["0", "0", "1", "1"]
    assert re.findall(r": \d+\.\d\ds\n", printed)


def test_the_gradient_callback_of_dream_trainer_prints_the_norms(
    dream: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    norms = Norms()
    trained(norms, dream["GradientCallback"]())

    printed = capsys.readouterr().out
    shown = [float(text) for text in re.findall(r"norm: ([\d.]+)", printed)]
    assert shown == pytest.approx(norms.norms, abs=1e-4)
    assert printed.count(": 0.01\n") == 6


def test_the_profiling_callback_of_dream_trainer_wraps_every_step(dream: dict[str, Any]) -> None:
    entered: list[str] = []

    class Watched:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *_: Any) -> None:
            entered.append("out")

    callback = dream["ProfilingCallback"]()
    callback.profiler = Watched()
    trained(callback)

    assert entered == ["in", "out"] * 6


def test_the_state_of_dream_trainer_is_saved_and_restored(dream: dict[str, Any]) -> None:
    first, second = dream["StatefulCallback"](), dream["StatefulCallback"]()
    trainer = MyTrainer(DreamTrainerConfig(callbacks=[first]))
    result = trainer.fit()
    other = MyTrainer(DreamTrainerConfig(callbacks=[second]))

    other.callbacks.load_state_dict(trainer.callbacks.state_dict())

    assert first.step_count == second.step_count == 6
    assert first.best_metric == second.best_metric == min(result.history.values("val/loss"))


def test_the_typed_and_the_distributed_callback_of_dream_trainer_run(
    dream: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = trained(dream["MyCallback"](), dream["DistributedAwareCallback"]())

    losses = result.history.values("train/loss")
    shown = re.findall(r"loss: ([\d.]+)", capsys.readouterr().out)
    assert [float(text) for text in shown] == losses


def test_the_bad_callback_of_dream_trainer_is_refused_and_the_good_one_runs(
    dream: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AttributeError, match="`global_step` of a `trainer` can't be set"):
        trained(dream["BadCallback"]())

    trained(dream["GoodCallback"]())
    assert re.findall(r"step: (\d)", capsys.readouterr().out) == list("012345")


@pytest.mark.parametrize("fails", [False, True])
def test_the_resources_of_dream_trainer_are_closed(dream: dict[str, Any], fails: bool) -> None:
    class Failing(Native):
        def on_step_end(self, run: Any) -> None:
            raise ValueError("no")

    holding = dream["ResourceCallback"]()
    if fails:
        with pytest.raises(ValueError, match="no"):
            trained(holding, Failing())
    else:
        trained(holding)

    assert holding.file.closed
    assert holding.connection.closed
