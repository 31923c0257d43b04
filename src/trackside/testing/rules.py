"""The rules that every callback keeps, each a function that proves it or raises `Broken`."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
import yaml

from trackside.checkpoint import UnsavableStateError
from trackside.checkpoint.joining import join
from trackside.checkpoint.splitting import split
from trackside.config import load
from trackside.config.checking.kinds import KindError, import_name
from trackside.errors import ObserverError, RegistrationError, TracksideError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import HOOKS, Callback
from trackside.lifecycle.roles import SavesInBackground
from trackside.run_folder.claim import unclaimed
from trackside.testing import failing_disk as faulty
from trackside.testing.comparing import differing
from trackside.testing.laboratory import Broken, Laboratory, Trial, folder
from trackside.testing.leaks import Belongings
from trackside.testing.simulated_world import SimulatedWorld
from trackside.testing.spying import SpyCallback

_SHOWN = 4
_OF_A_STEP = frozenset(
    [
        *("on_step_start", "on_batch_start", "on_backward_start", "on_backward_end"),
        *("on_batch_end", "on_optimizer_step_start", "on_optimizer_step_end"),
        *("on_zero_grad_start", "on_zero_grad_end", "on_step_end"),
    ]
)


class NotApplicable(Exception):
    """A rule says nothing about this callback, for the reason given."""


def registration(laboratory: Laboratory) -> None:
    """The factory makes a new callback in each call, and a run with it trains to the end."""
    one = laboratory.make()
    if one is laboratory.make():
        raise Broken("the factory returns the same callback twice", "make a new one in each call")
    try:
        CallbackCollection([*laboratory.beside(), one])
    except RegistrationError as error:
        raise Broken(f"it can't join: {_line(error)}", error.remedy or "see the error") from error
    trial = laboratory.undisturbed()
    _must_complete(trial, "a run of the tiny task fails with it")
    if trial.closed != 1:
        raise Broken(f"it was closed {trial.closed} times", "don't call `on_close` yourself")


def configuration(laboratory: Laboratory) -> None:
    """Made from a YAML file it is the same as made from Python."""
    kind = laboratory.factory
    if not isinstance(kind, type):
        raise NotApplicable("made by a function, not by its class")
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        import_name(name)
    except KindError as error:  # within a function, or typed into a session
        raise NotApplicable(f"no file can name it: {_line(error)}") from error
    description = {
        "model": {"kind": "torch.nn.Linear", "in_features": 2, "out_features": 1},
        "loss": {"kind": "torch.nn.MSELoss"},
        "optimizer": {"kind": "torch.optim.SGD", "lr": 0.1},
        "data": {"train": {"kind": "trackside.testing.tasks.tiny_rows"}},
        "trainer": {"epochs": 1},
        "callbacks": {"tested": {"kind": name, **laboratory.options}},
    }
    fix = "give `__init__` typed parameters that YAML can hold, and keep what it was given"
    with folder() as place:
        file = place / "experiment.yaml"
        try:
            file.write_text(yaml.safe_dump(description), encoding="utf-8")
            blueprint = load(file).callbacks["tested"]
            made = None if blueprint is None else blueprint.build()
        except (TracksideError, yaml.YAMLError) as error:
            raise Broken(f"it can't be made from YAML: {_line(error)}", fix) from error
    differences = differing(vars(laboratory.make()), {**vars(made), "name": laboratory.make().name})
    differences = [path for path in differences if path not in ("name", " (keys)")]
    if differences:
        raise Broken(f"made from YAML it differs in {_some(differences)}", fix)


def observation(laboratory: Laboratory) -> None:
    """A callback that only watches leaves the trained weights bitwise as they are."""
    if not laboratory.observer:
        raise NotApplicable("it changes training on purpose")
    with folder() as place:
        without = laboratory.run(place)
    if not torch.equal(without.weights, laboratory.undisturbed().weights):
        raise Broken(
            "the trained weights differ from those of a run without it",
            "draw random numbers under `randomness.preserved()`, leave gradients, modes and "
            "parameters as they are; or say `observer=False`",
        )


def effect(laboratory: Laboratory) -> None:
    """One that declares that it observes changes nothing of training in any hook."""
    declared = laboratory.make().effect
    if declared is None:
        raise NotApplicable("it doesn't declare its `effect`")
    if declared != "observes":
        raise NotApplicable(f"it {declared}, and says so")
    if not laboratory.observer:
        raise Broken(
            "it declares that it observes, and is said to change training",
            'declare `effect = "changes"`, or leave `observer=False` out',
        )
    with folder() as place:
        trial = laboratory.run(place, callback=laboratory.make(), guard="observers")
    if isinstance(trial.error, ObserverError):
        raise Broken(_line(trial.error), trial.error.remedy or "leave training as it is")
    _must_complete(trial, "under a guard it fails")


def waits(laboratory: Laboratory) -> None:
    """No hook of a step waits for the device in each step."""
    with folder() as place:
        trial = laboratory.run(place, callback=laboratory.make(), guard="waits")
    _must_complete(trial, "under a guard it fails")
    steps = 0 if trial.result is None else trial.result.outcome.step
    found = [
        f"`{hook}` at {Path(file).name}:{line}"
        for (name, hook, file, line), times in trial.waits.items()
        if name == trial.name and hook in _OF_A_STEP and times >= steps
    ]
    if found:
        raise Broken(
            f"it waits for the device in each step: {_some(found)}",
            "keep values as tensors on the device, and read them when a record is made "
            "(`run.log` does so), or when a schedule is due",
        )


def state(laboratory: Laboratory) -> None:
    """`state_dict` can be saved, is the same when asked twice, and survives a round trip."""
    callback = laboratory.make()
    found: list[Any] = []

    def look(run: Any) -> None:
        found.append(split(callback.state_dict()))
        found.append(split(callback.state_dict()))

    # In the middle of the run, where a checkpoint would be taken.
    last = SpyCallback("on_step_start", look, when=3, counts=())
    with folder() as place:
        trial = laboratory.run(place, callback=callback, others=[last])
    if isinstance(trial.error, UnsavableStateError):
        raise Broken(_line(trial.error), "return tensors, numbers, text and nestings of them")
    if trial.error is not None:
        fix = "`state_dict` must work at any time after `on_attach`"
        raise Broken(f"`state_dict` fails: {_line(trial.error)}", fix)
    first, second = (join(part.skeleton, part.tensors) for part in found)
    if different := differing(first, second):
        raise Broken(
            f"asked twice, `state_dict` differs in {_some(different)}",
            "leave clocks and counters of calls out of it",
        )
    if not first:
        return
    restored = laboratory.make()
    restored.load_state_dict(first)
    if different := differing(second, restored.state_dict()):
        raise Broken(
            f"after `load_state_dict` the state differs in {_some(different)}",
            "restore in `load_state_dict` everything that `state_dict` returns",
        )


def resume(laboratory: Laboratory) -> None:
    """Broken at a random step and resumed, a run ends as the unbroken one, its state included."""
    plain = laboratory.undisturbed().result
    between = range(1, 0 if plain is None else plain.outcome.step)
    cuts = laboratory.chosen(between, one_in=max(len(between), 1))
    saving = f"{cuts[0]} steps" if len(cuts) == 1 else "1 step"
    with folder() as place, folder() as twin_place:
        unbroken = laboratory.run(place, callback=laboratory.make(), saving=saving)
        twin = laboratory.run(twin_place, callback=laboratory.make(), saving=saving)
    _must_complete(unbroken, "it fails beside checkpoints")
    _must_complete(twin, "it fails beside checkpoints")
    for cut in cuts:
        _resume_after(cut, laboratory, unbroken, twin, saving)


def _resume_after(
    cut: int, laboratory: Laboratory, unbroken: Trial, twin: Trial, saving: str
) -> None:
    stumble = SpyCallback("on_step_start", _Power, when=cut + 1, counts=())
    with folder() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what this suite added or left out
        laboratory.run(place, callback=laboratory.make(), others=[stumble], saving=saving)
        resumed = laboratory.run(place, callback=laboratory.make(), saving=saving, resume=True)
    where = f"broken after step {cut} and resumed"
    _must_complete(resumed, f"{where}, a run fails")
    fix = "return from `state_dict` all that it decides by, and restore it in `load_state_dict`"
    if not torch.equal(unbroken.weights, resumed.weights):
        raise Broken(f"{where}, the trained weights differ from those of an unbroken run", fix)
    # What differs between two unbroken runs is measured by a clock.
    clocks = {name for _, _, name in _differing_keys(unbroken.history, twin.history)}
    wrong = [
        key
        for key in _differing_keys(unbroken.history, resumed.history)
        if key[2] not in clocks and not any(fnmatch(key[2], p) for p in laboratory.measured)
    ]
    if wrong:
        names = [f"{name} at step {step}" for _, step, name in sorted(wrong, key=lambda k: k[1])]
        raise Broken(f"{where}, records differ: {_some(names)}", fix)
    _compare_states(unbroken, twin, resumed, where, fix)


def _compare_states(unbroken: Trial, twin: Trial, resumed: Trial, where: str, fix: str) -> None:
    states = []
    for trial in (unbroken, twin, resumed):
        assert trial.callback is not None
        parts = split(trial.callback.state_dict())
        states.append(join(parts.skeleton, parts.tensors))
    clocks = set(differing(states[0], states[1]))
    wrong = [path for path in differing(states[0], states[2]) if path not in clocks]
    if wrong:
        raise Broken(f"{where}, its state differs in {_some(wrong)}", fix)


def second_fit(laboratory: Laboratory) -> None:
    """Two `fit`s in a row with one trainer work, and the second one is like a first."""
    with folder() as place, folder() as control:
        twice = laboratory.run(place, callback=laboratory.make(), fits=2)
        without = laboratory.run(control, fits=2)
    fix = "begin again in `on_attach` or `on_fit_start`: nothing of the first run may be left"
    _must_complete(twice, "a second `fit` with the same trainer fails", fix)
    if laboratory.observer and not torch.equal(twice.weights, without.weights):
        raise Broken("after two `fit`s the weights differ from those of runs without it", fix)


def clean_up(laboratory: Laboratory) -> None:
    """An error at any hook still closes it; no file, thread or process stays behind."""
    heard = laboratory.undisturbed().events
    hooks = [hook for hook in HOOKS if hook in heard and hook not in ("on_attach", "on_close")]
    before = Belongings.now()
    for hook in ["on_attach", *laboratory.chosen(hooks, one_in=3)]:
        error = _Injected(f"injected at `{hook}`")
        spy = SpyCallback(hook, error, counts=())
        with folder() as place:
            trial = laboratory.run(place, callback=laboratory.make(), others=[spy])
        if trial.error is not error:
            raise Broken(
                f"an error at `{hook}` did not come out, but {_line(trial.error)}",
                "never swallow or replace the errors of others",
            )
        # One that comes after all others has not joined when one of them fails to.
        is_last = Callback in laboratory.make().runs_after
        joined = not (hook == "on_attach" and is_last)
        if trial.closed != joined:
            raise Broken(
                f"after an error at `{hook}` it was closed {trial.closed} times",
                "leave `on_close` to the run",
            )
        if notes := [n for n in error.__notes__ if "another error came up" in n]:
            raise Broken(
                f"after an error at `{hook}` it fails itself: {notes[0].splitlines()[-2]}",
                "let `on_close` and `on_exception` work however far the run has come",
            )
        del error, trial, spy
    with folder() as place:
        laboratory.run(place, callback=laboratory.make())
    if leaked := before.left_behind():
        raise Broken(
            f"it leaves {_some(leaked)} behind",
            "close files, join threads and end processes in `on_close`",
        )


def failing_disk(laboratory: Laboratory) -> None:
    """On a full disk and without a network it does what its `on_error` says, and is closed."""
    callback = laboratory.make()
    policy = callback.on_error
    if isinstance(callback, SavesInBackground):
        policy = callback.on_save_error
    # The run's own claim of its folder is not the callback's to speak of.
    disk = faulty.failing_disk_and_network
    with folder() as place, unclaimed(), disk(place / "run") as attempts:
        trial = laboratory.run(place / "run", callback=callback)
    if trial.closed != 1:
        raise Broken(f"it was closed {trial.closed} times", "leave `on_close` to the run")
    if trial.error is None:
        reported = trial.result is not None and trial.result.failed_callbacks
        if attempts and (policy == "raise" or not reported):
            raise Broken(
                f"{attempts[0]} failed and nothing reported it, in spite of on_error={policy!r}",
                "let the error out of the hook: by 'warn' it is logged, counted and forgiven there",
            )
        return
    if not attempts:
        raise Broken(f"it fails: {_line(trial.error)}", "see the traceback")
    if policy == "warn":
        raise Broken(
            f"{attempts[0]} failed and ended the run, in spite of on_error='warn': "
            + _line(trial.error),
            "let errors out of hooks only, where they are counted and forgiven",
        )
    said = "".join(traceback.format_exception(trial.error))
    if faulty.TEXT not in said and "Network is unreachable" not in said:
        raise Broken(
            f"the error hides its reason: {_line(trial.error)}",
            "raise from the error of the system",
        )


def ranks(laboratory: Laboratory) -> None:
    """On two ranks it calls the same collectives in the same order."""
    with folder() as place:
        zero = SimulatedWorld(0)
        first = laboratory.run(place, callback=laboratory.make(), rank=0, world=zero)
    with folder() as place:
        one = SimulatedWorld(1, zero=zero)
        second = laboratory.run(place, callback=laboratory.make(), rank=1, world=one)
    _must_complete(first, "on rank 0 of two it fails")
    # Before an error of rank 1: an answer to another collective may be its cause.
    for number, (left, right) in enumerate(zip(zero.calls, one.calls, strict=False), 1):
        if left != right:
            raise Broken(
                f"collective {number} is {left} on rank 0 and {right} on rank 1",
                "call collectives on all ranks, in the same order, with the same shapes: outside "
                "of `if run.world.is_global_zero`, and not in a callback with `rank_zero_only`",
            )
    _must_complete(second, "on rank 1 of two it fails")
    if len(zero.calls) != len(one.calls):
        more, fewer = (0, 1) if len(zero.calls) > len(one.calls) else (1, 0)
        calls = (zero.calls, one.calls)[more]
        raise Broken(
            f"rank {more} calls {calls[len((zero.calls, one.calls)[fewer])]} and rank {fewer} "
            "doesn't: they would wait for each other forever",
            "call collectives on all ranks: outside of `if run.world.is_global_zero`, and not in "
            "a callback with `rank_zero_only`",
        )


class _Power(BaseException):
    """The power fails."""


class _Injected(Exception):
    """An error of another callback."""


def _must_complete(trial: Trial, what: str, fix: str = "see the traceback of the cause") -> None:
    if trial.error is not None:
        raise Broken(f"{what}: {_line(trial.error)}", fix) from trial.error


def _differing_keys(
    one: Mapping[tuple[int, int, str], float], other: Mapping[tuple[int, int, str], float]
) -> list[tuple[int, int, str]]:
    keys = [*one, *(key for key in other if key not in one)]
    return [key for key in keys if differing(one.get(key), other.get(key))]


def _line(error: BaseException | None) -> str:
    if error is None:
        return "nothing"
    return "".join(traceback.format_exception_only(error)).splitlines()[0]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
