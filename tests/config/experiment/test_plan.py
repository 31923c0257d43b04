from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.config.files import good, write
from tests.device import NAME
from trackside.cli.main import run
from trackside.config import ExperimentError, load
from trackside.config.experiment.held import too_little
from trackside.config.experiment.plan import Plan, make_plan
from trackside.step.memory import Held

MORE = """\
evaluate: [test]
metrics: {accuracy: accuracy}
callbacks:
  checkpoint: {every: 1 epoch, keep_last: 2, keep_best: 1, monitor: val/loss}
  ticker: {kind: tests.config.parts.Ticker, every: 3 steps, runs_before: [checkpoint]}
"""
TEST_SET = ("  val: {", "  test: {kind: tests.config.parts.points, count: 3}\n  val: {")


def planned(*changes: tuple[str, str], more: str = MORE, overrides: tuple[str, ...] = ()) -> Plan:
    write(good(TEST_SET, ("epochs: 1", "epochs: 4"), *changes, more=more))
    return make_plan(load("run.yaml", overrides))


def test_a_plan_tells_sizes_and_limits() -> None:
    plan = planned(("kind: sgd, lr", "kind: adamw, fused: true, lr"))
    assert (plan.epochs, plan.steps, plan.epoch_steps) == (4, 8, 2)
    assert plan.memory.parameters == plan.memory.trainable == 6
    assert plan.memory.parameter_bytes == plan.memory.gradient_bytes == 24
    assert plan.memory.optimizer_bytes == 48
    assert {name: (one.samples, one.use) for name, one in plan.data.items()} == {
        "train": (8, "trained on"),
        "val": (8, "evaluated while training"),
        "test": (3, "evaluated after it"),
    }
    assert plan.disk is not None
    assert (plan.disk.checkpoint_bytes, plan.disk.kept) == (72, 3)
    assert plan.findings == []
    assert plan.sound


def test_a_plan_of_a_sound_run_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    planned(more="callbacks: {early_stopping: {monitor: val/loss, patience: 2}}\n")
    assert [record.getMessage() for record in caplog.records] == []


def test_loading_and_planning_draw_nothing_from_the_generators() -> None:
    before = torch.get_rng_state()
    planned()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plan_has_the_hooks_in_order_with_the_callbacks_under_each() -> None:
    plan = planned()
    assert plan.hooks["on_fit_end"] == ["provenance", "ticker", "checkpoint"]
    assert list(plan.hooks).index("on_fit_start") < list(plan.hooks).index("on_close")


def test_a_plan_says_the_effect_of_each_callback() -> None:
    effects = planned().effects
    assert (effects["ticker"], effects["checkpoint"]) == ("unsaid", "steers")


def test_the_trainers_own_hooks_come_first() -> None:
    options = "epochs: 4\n  kind: tests.config.parts.HookedTrainer"
    plan = planned(("epochs: 4", options))
    assert plan.hooks["on_epoch_end"][0] == "trainer"


def test_a_plan_tells_what_is_due_how_often() -> None:
    due = {(one.owner, one.option): one.times for one in planned().schedules}
    assert due == {
        ("trainer", "log_every"): 0,
        ("trainer", "evaluate_every"): 4,
        ("checkpoint", "every"): 4,
        ("ticker", "every"): 2,
    }


@pytest.mark.cpu("its way is that of a CPU; tests of the parts have those of accelerators")
def test_a_plan_tells_what_is_chosen_once() -> None:
    more = "callbacks: {terminate_on_non_finite: {gradients: true}}\n"
    assert planned(more=more).ways == {
        "batches": "used where they are",
        "terminate_on_non_finite": "loss and gradients are looked at before each update",
    }


@pytest.mark.cpu("on an accelerator that copies beside its work, the copy is in pinned memory")
def test_a_plan_tells_the_memory_beside_the_states() -> None:
    found = planned(more="callbacks: {checkpoint: {writer: process}, crash_capsule: {}}\n")
    assert [(one.place, one.size_bytes) for one in found.held] == [
        ("shared memory", found.memory.parameter_bytes + (found.memory.optimizer_bytes or 0)),
        ("disk", 10 * 100_000_000),
    ]


def test_no_copy_is_planned_where_it_may_not_be_made() -> None:
    for options in ("background: false", "memory_gigabytes: 1.0e-9"):
        assert planned(more=f"callbacks: {{checkpoint: {{{options}}}}}\n").held == []


def test_a_plan_warns_where_less_host_memory_is_free_than_will_be_held() -> None:
    parts = [Held("a copy", "host memory", 2_000_000_000, "an option")]
    assert too_little(parts, 2_000_000_000) is None
    assert too_little(parts, None) is None
    found = too_little(parts, 1_000_000_000)
    assert found is not None
    assert found.severity == "warning"


def test_a_plan_tells_what_is_done_when_memory_runs_out() -> None:
    told = planned(overrides=("trainer.halve_batches_to=2",)).ways["memory"]
    assert told.endswith("in parts half as large, down to 2")


def test_the_order_of_a_plan_is_that_of_the_run() -> None:
    planned_hooks = planned().hooks
    finished = load("run.yaml").run()
    assert planned_hooks == finished.trainer.callbacks.table()


def test_planning_writes_nothing_takes_no_step_and_attaches_nobody() -> None:
    planned(more=MORE + "  spy: {kind: tests.config.parts.Failing}\n")
    assert sorted(path.name for path in Path().iterdir()) == ["run.yaml"]


def test_every_monitor_that_nothing_logs_is_found() -> None:
    more = (
        "callbacks:\n"
        "  one: {kind: early_stopping, monitor: val/los}\n"
        "  two: {kind: early_stopping, monitor: tst/loss}\n"
    )
    plan = planned(more=more)
    assert [(f.severity, f.about) for f in plan.findings if f.severity == "error"] == [
        ("error", "one"),
        ("error", "two"),
    ]
    assert not plan.sound


def test_what_can_not_be_made_is_told_with_its_place() -> None:
    with pytest.raises(ExperimentError, match=r"run.yaml:7:15: data.val"):
        planned(("points, seed: 2}", "refuse, reason: no disk}"))


def test_fit_warns_of_what_the_plan_finds(caplog: pytest.LogCaptureFixture) -> None:
    more = "callbacks: {ticker: {kind: tests.config.parts.Ticker, every: 300 steps}}\n"
    plan = planned(more=more)
    load("run.yaml").run()
    assert [str(finding) for finding in plan.findings if finding.severity == "warning"] == [
        record.message for record in caplog.records
    ]
    assert "never due" in caplog.text


def test_fit_refuses_what_the_plan_calls_an_error() -> None:
    Path("taken").write_text("")
    write(good(("directory: run", "directory: taken/run"), more="callbacks: {checkpoint: {}}\n"))
    with pytest.raises(ExperimentError, match=r"run.yaml:11:14: trainer.directory: .*is a file"):
        load("run.yaml").run()
    (finding,) = (f for f in make_plan(load("run.yaml")).findings if f.severity == "error")
    assert finding.place == "run.yaml:11:3"


# --- the command -------------------------------------------------------------------------------


def test_the_command_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(TEST_SET, more=MORE))
    assert run(["plan", "run.yaml", "optimizer.fused=true"]) == 0
    shown = capsys.readouterr().out
    assert f"run      2 steps (an epoch has 2), on {NAME}, files in run\n" in shown
    assert "chosen once\n  batches: " in shown
    assert "data     test: 3 samples, 1 batch; evaluated after it\n" in shown
    assert "  checkpoint every: 1 epoch: once, first at step 2\n" in shown
    assert "  on_fit_end: provenance, ticker, checkpoint\n" in shown
    assert (
        "  run.yaml:18:3: warning: ticker: `every: 3 steps` is never due in a run of 2 steps\n"
        in shown
    )


def test_the_command_says_that_the_clock_decides(capsys: pytest.CaptureFixture[str]) -> None:
    more = "callbacks: {evaluate: {data: test, every: 1 step, time_percent: 5}}\n"
    write(good(TEST_SET, more=more))
    assert run(["plan", "run.yaml"]) == 0
    words = "evaluate every: 1 step: 2 times, as far as they fit into 5 % of the time: the clock"
    assert words in " ".join(capsys.readouterr().out.split())


def test_the_plan_as_json_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(TEST_SET, more=MORE))
    assert run(["plan", "run.yaml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["steps"] == 2
    assert plan["schedules"][1]["schedule"] == "1 epoch"
    assert list(plan["ways"]) == ["batches"]


def test_a_plan_with_an_error_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(more="callbacks: {es: {kind: early_stopping, monitor: val/los}}\n"))
    assert run(["plan", "run.yaml"]) == 2
    assert (
        "  run.yaml:13:13: error: es: 'es' watches 'val/los', and nothing logs it"
        in capsys.readouterr().out
    )


EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_can_be_planned(path: Path) -> None:
    pytest.importorskip("sklearn")
    assert make_plan(load(path)).sound


def test_a_plan_compares_the_length_of_a_callbacks_schedulers_with_the_run() -> None:
    scheduler = "scheduler: one_cycle, options: {max_lr: 0.1, total_steps: 9}"
    plan = planned(more=f"callbacks: {{rate: {{kind: lr_scheduler, {scheduler}}}}}\n")
    told = [(f.severity, f.about, f.remedy) for f in plan.findings if f.severity != "hint"]
    assert told == [("warning", "rate", "give it total_steps=8")]
