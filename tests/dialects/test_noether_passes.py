"""What Noether's callbacks get of a pass, write, save, and leave to others when they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset, get_worker_info

from tests.dialects.training import trainer_of
from trackside import declare_direction
from trackside.dialects import state_file
from trackside.dialects.noether import (
    CallBackBaseConfig,
    EarlyStopIteration,
    EarlyStopperBase,
    PeriodicCallback,
    PeriodicDataIteratorCallback,
    PeriodicDataIteratorCallbackConfig,
    SamplerIntervalConfig,
    TrainingIteration,
)
from trackside.dialects.noether.records import rows_of
from trackside.dialects.noether.run import MetricPropertyProvider
from trackside.errors import DataError, UnknownNameError, UsageError
from trackside.outcome import Status

TEST = TensorDataset(torch.arange(10.0).reshape(5, 2), torch.ones(5, 1))
EACH_UPDATE = CallBackBaseConfig(every_n_updates=1)
EACH_EPOCH = CallBackBaseConfig(every_n_epochs=1)
OVER_TEST = PeriodicDataIteratorCallbackConfig(every_n_epochs=1, dataset_key="test")


class Passing(PeriodicDataIteratorCallback):
    """Returns `what` of each batch, and keeps what comes back."""

    def __init__(self, what: Any, config: Any = OVER_TEST) -> None:
        super().__init__(config)
        self.what = what

    results: Any = "nothing"

    def process_data(self, batch: Any, *, trainer_model: Any) -> Any:
        return self.what(batch)

    def process_results(self, results: Any, **_: Any) -> None:
        self.results = results


def passed(callback: Any) -> Any:
    trainer, task = trainer_of([callback])
    data = {"test": DataLoader(TEST, batch_size=3)}
    trainer.fit(task.train, epochs=1, data=data)
    return callback.results


def train(*callbacks: Any, **limit: Any) -> Any:
    trainer, task = trainer_of(callbacks)
    return trainer.fit(task.train, task.validation, **(limit or {"epochs": 1}))


class Fails(PeriodicCallback):
    def periodic_callback(self, **_: Any) -> None:
        raise RuntimeError("no more")


class Runs(PeriodicCallback):
    times = 0

    def periodic_callback(self, **_: Any) -> None:
        self.times += 1


# --- what comes back -----------------------------------------------------------------------------


def test_a_list_is_collated_position_by_position() -> None:
    first, second = passed(Passing(lambda batch: [batch[0], batch[1]]))

    assert torch.equal(first, TEST.tensors[0])
    assert second.shape == (5, 1)


def test_numbers_become_a_tensor_and_nothing_stays_nothing() -> None:
    assert torch.equal(passed(Passing(lambda batch: 1.5)), torch.tensor([1.5, 1.5]))
    assert passed(Passing(lambda batch: None)) is None


def test_lists_that_differ_in_length_are_refused() -> None:
    with pytest.raises(DataError, match="differ in length between batches"):
        passed(Passing(lambda batch: list(batch[0])))


def test_a_sampler_set_in_the_constructor_decides_over_which_data() -> None:
    class OfAnother(Passing):
        def __init__(self) -> None:
            super().__init__(
                lambda batch: batch[0],
                PeriodicDataIteratorCallbackConfig(every_n_epochs=1, dataset_key="train"),
            )
            self.sampler_config = self._sampler_config_from_key(key="test")

    assert torch.equal(passed(OfAnother()), TEST.tensors[0])


def test_a_pass_over_the_first_items_takes_no_more() -> None:
    class Few(Passing):
        def __init__(self) -> None:
            super().__init__(lambda batch: batch[0])
            self.sampler_config = self._sampler_config_from_key(key="test", max_size=2)

    assert torch.equal(passed(Few()), TEST.tensors[0][:2])


def test_properties_of_items_are_refused() -> None:
    with pytest.raises(UsageError, match="can't be chosen"):
        Passing(None)._sampler_config_from_key("test", properties={"x"})


# --- what is written -----------------------------------------------------------------------------


class Writes(PeriodicCallback):
    """Writes the number of the update."""

    def periodic_callback(self, *, update_counter: Any, **_: Any) -> None:
        self.writer.add_scalar("train/update", float(update_counter.update))


def test_each_value_that_is_written_is_recorded() -> None:
    result = train(Writes(EACH_UPDATE), steps=6)

    assert result.history.values("train/update") == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert [step for step, _ in result.history.points("train/update")] == [1, 2, 3, 4, 5, 6]


def test_what_was_written_is_in_the_cache_until_the_next_update() -> None:
    seen: list[list[str]] = []

    class Reads(PeriodicCallback):
        def track_after_update_step(self, **_: Any) -> None:
            seen.append(sorted(self.writer.log_cache))

        def periodic_callback(self, **_: Any) -> None:
            seen.append(sorted(self.writer.log_cache))

    train(Writes(CallBackBaseConfig(every_n_updates=2)), Reads(EACH_UPDATE), steps=2)

    assert seen == [[], [], [], ["train/update"]]


def test_rows_hold_the_means_over_ranks_turn_by_turn() -> None:
    assert rows_of([{"a": [1.0, 5.0], "b": [3.0]}, {"a": [2.0]}, {}]) == [
        {"a": 1.5, "b": 3.0},
        {"a": 5.0},
    ]


# --- what is saved -------------------------------------------------------------------------------


def saved_by(**options: Any) -> dict[str, dict[str, Any]]:
    class Saves(PeriodicCallback):
        def periodic_callback(self, *, update_counter: Any, **_: Any) -> None:
            self.checkpoint_writer.save(
                model=self.model, checkpoint_tag=update_counter.cur_iteration, **options
            )

    train(Saves(EACH_EPOCH))
    return {p.stem: state_file.read(p) for p in Path("run/checkpoints").glob("*.safetensors")}


def test_a_checkpoint_is_called_by_epoch_update_and_sample() -> None:
    assert set(saved_by()) == {"E1_U3_S10"}
    assert str(TrainingIteration(2, 8, 20)) == "E2_U8_S20"


def test_no_names_of_parts_are_all_parts_and_the_name_of_the_model_is_itself() -> None:
    assert saved_by(model_names_to_save=[])["E1_U3_S10"]["model"]


def test_before_an_early_stop_ends_the_run_the_weights_are_saved() -> None:
    class Stops(PeriodicCallback):
        def periodic_callback(self, **_: Any) -> None:
            raise EarlyStopIteration

    train(Stops(EACH_UPDATE))

    assert state_file.read("run/checkpoints/E0_U1_S4.early_exit.safetensors")["optimizers"]


def test_a_checkpoint_has_what_was_asked_for() -> None:
    files = saved_by(save_weights=False, save_latest_weights=True)

    assert "model" not in files["E1_U3_S10"]
    assert files["E1_U3_S10"]["optimizers"]
    assert files["latest"]["model"]
    assert "optimizers" not in files["latest"]


def test_parts_of_a_model_that_it_does_not_have_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="encoder"):
        saved_by(model_names_to_save=["encoder"])


def test_what_was_written_is_flushed_when_the_next_update_begins_and_after_training() -> None:
    seen: list[list[str]] = []

    class Reads(PeriodicCallback):
        def track_after_accumulation_step(self, **_: Any) -> None:
            seen.append([key for key in self.writer.log_cache if key == "train/update"])

        def after_training(self, **_: Any) -> None:
            seen.append([key for key in self.writer.log_cache if key == "train/update"])

    train(Writes(EACH_UPDATE), Reads(EACH_UPDATE), steps=2)

    assert seen == [[], [], []]


# --- counters and intervals ----------------------------------------------------------------------


def test_counters_say_whether_an_epoch_or_the_run_is_complete() -> None:
    seen: list[tuple[bool, bool, float]] = []

    class Counts(PeriodicCallback):
        def periodic_callback(self, *, update_counter: Any, **_: Any) -> None:
            c = update_counter
            seen.append((c.is_full_epoch, c.is_finished, round(c.epoch_as_float, 2)))

    train(Counts(EACH_UPDATE), epochs=2)

    assert seen == [
        *((False, False, 0.33), (False, False, 0.67), (True, False, 1.0)),
        *((False, False, 1.33), (False, False, 1.67), (True, True, 2.0)),
    ]


def test_counters_of_a_batch_are_those_before_its_update() -> None:
    seen: list[str] = []

    class Counts(PeriodicCallback):
        def track_after_accumulation_step(self, *, update_counter: Any, **_: Any) -> None:
            seen.append(str(update_counter.cur_iteration))

    trainer, task = trainer_of([Counts(EACH_EPOCH)], accumulate=2)
    trainer.fit(task.train, epochs=1)

    assert seen == ["E0_U0_S0", "E0_U0_S0", "E0_U1_S8"]


def test_the_phases_of_an_update_have_their_times() -> None:
    seen: list[Any] = []

    class Times(PeriodicCallback):
        def track_after_update_step(self, *, times: Any, **_: Any) -> None:
            seen.append(times)

    train(Times(EACH_EPOCH), steps=1)

    (times,) = seen
    assert set(times) == {"data_wait", "forward", "backward", "update"}
    assert min(times.values()) >= 0
    assert times["update"] == times["forward"] + times["backward"]
    assert times["data_time"] == times["data_wait"]


def their_base() -> type:
    """A class like the base class of their package, which asks when it is due."""

    class PeriodicCallback(Runs):
        def _should_invoke_after_update(self, iteration: Any) -> bool:
            return False

        def _should_invoke_after_sample(self, iteration: Any, size: int) -> bool:
            return False

        def after_update(self, update_counter: Any, **_: Any) -> None:
            if self._should_invoke_after_update(update_counter.cur_iteration):
                self.periodic_callback(interval_type="update", update_counter=update_counter)

    PeriodicCallback.__module__ = "noether.core.callbacks.periodic"
    return PeriodicCallback


def test_a_class_of_their_package_that_decides_when_it_is_due_is_asked() -> None:
    seen: list[int] = []

    class First(their_base()):  # type: ignore[misc]
        def _should_invoke_after_update(self, iteration: Any) -> bool:
            return bool(iteration.update == 1)

        def periodic_callback(self, *, update_counter: Any, **_: Any) -> None:
            seen.append(update_counter.update)

    train(First(EACH_UPDATE), steps=3)

    assert seen == [1]


def test_a_callback_tells_its_interval() -> None:
    callback = PeriodicCallback(CallBackBaseConfig(every_n_samples=5000))

    assert callback.to_short_interval_string() == "S5000"
    assert callback.get_interval_string_verbose() == "every_n_samples=5000"
    assert str(callback) == "PeriodicCallback(every_n_samples=5000)"


def test_a_callback_tells_how_many_updates_its_interval_has() -> None:
    seen: list[tuple[int, int, int]] = []

    class Asks(PeriodicCallback):
        def periodic_callback(self, *, update_counter: Any, **_: Any) -> None:
            epochs = PeriodicCallback(CallBackBaseConfig(every_n_epochs=2))
            samples = PeriodicCallback(CallBackBaseConfig(every_n_samples=8))
            seen.append(
                (
                    epochs.updates_per_interval(update_counter),
                    samples.updates_per_interval(update_counter),
                    epochs.updates_till_next_invocation(update_counter),
                )
            )

    train(Asks(EACH_UPDATE), steps=2)

    assert seen == [(6, 2, 5), (6, 2, 4)]


def test_an_early_stopper_of_ones_own_stops() -> None:
    class Enough(EarlyStopperBase):
        def _should_stop(self, *, update_counter: Any) -> bool:
            return bool(update_counter.update == 2)

    runs = Runs(EACH_UPDATE)
    result = train(Enough(EACH_UPDATE), runs, epochs=3)

    assert (result.outcome.status, runs.times) == (Status.STOPPED, 2)


# --- failures ------------------------------------------------------------------------------------


def test_when_one_callback_fails_the_others_have_their_turn_and_the_error_comes_then() -> None:
    runs = Runs(EACH_UPDATE)

    with pytest.raises(RuntimeError, match="no more"):
        train(Fails(EACH_UPDATE), runs)

    assert runs.times == 1


def test_before_an_error_of_a_callback_ends_the_run_the_weights_are_saved() -> None:
    with pytest.raises(RuntimeError, match="no more"):
        train(Fails(EACH_UPDATE))

    state = state_file.read("run/checkpoints/E0_U1_S4.error.safetensors")
    assert {"model", "optimizers"} <= set(state)


def test_a_callback_that_stops_training_leaves_the_others_their_turn() -> None:
    class Stops(PeriodicCallback):
        def periodic_callback(self, **_: Any) -> None:
            raise EarlyStopIteration

    runs = Runs(EACH_UPDATE)
    result = train(Stops(EACH_UPDATE), runs)

    assert (result.outcome.status, runs.times) == (Status.STOPPED, 1)


# --- which way is better -------------------------------------------------------------------------


def test_the_provider_knows_the_names_that_tables_know_and_those_declared() -> None:
    provider = MetricPropertyProvider()
    declare_direction("kendall_of_this_test", "max")

    assert all(map(provider.higher_is_better, ("bleu", "psnr", "r2", "val/score")))
    assert provider.lower_is_better("loss/test/total")
    assert provider.higher_is_better("test/kendall_of_this_test")


def test_the_provider_asks_where_a_name_does_not_tell() -> None:
    with pytest.raises(UsageError, match="declare_direction"):
        MetricPropertyProvider().higher_is_better("margin")


def worker_of(index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An item that says which worker read it."""
    info = get_worker_info()
    return torch.ones(2), torch.tensor([-1.0 if info is None else float(info.id)])


class Origins(Dataset[Any]):
    """Items that say where they were read."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return worker_of(index)


def test_items_of_a_pass_with_a_sampler_are_read_by_the_workers_of_the_data() -> None:
    class Choosing(PeriodicDataIteratorCallback):
        def register_sampler_config(self) -> SamplerIntervalConfig:
            return SamplerIntervalConfig(sampler=[3, 2, 1, 0], batch_size=2)

        def process_data(self, batch: Any, **_: Any) -> Any:
            return batch[1]

        def process_results(self, results: Any, **_: Any) -> None:
            self.workers = results.flatten().tolist()

    choosing = Choosing(OVER_TEST)
    trainer, task = trainer_of([choosing])
    data = DataLoader(Origins(), 2, num_workers=1)
    trainer.fit(task.train, epochs=1, data={"test": data})

    assert choosing.workers == [0.0] * 4
