"""`trackside replay`: one step made again, under observation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackside.cli.running import AsJson, Overrides, Traceback, reported_errors
from trackside.errors import UsageError, printable
from trackside.machine.paths import file_path, folder_path
from trackside.progress import counted

if TYPE_CHECKING:
    from trackside.proof.capsules import CapsuleReplay
    from trackside.proof.made_again import Way
    from trackside.proof.replay import Replay

SHOWN = 8
"""Samples, modules and tensors that are shown of each kind; `--json` has all."""


def replay(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="Folder of a run, or of a crash capsule in it.", show_default=False
        ),
    ],
    overrides: Overrides = None,
    step: Annotated[int | None, typer.Option(help="The step, from 1.", show_default=False)] = None,
    with_callback: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="CALLBACK",
            help="A callback that hears this step: its name, or {kind: NAME, OPTION: VALUE}.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A callback of the run that takes no part.", show_default=False
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where callbacks may write; by default nowhere that stays."
        ),
    ] = None,
    save_batch: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the batch of the step to a safetensors file."),
    ] = None,
    stop_inside: Annotated[
        bool, typer.Option("--break", help="Open a debugger before the batch goes into the model.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Begin at the start without asking.")] = False,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Make one step of RUN again, from the checkpoint before it, and say all about it.

    Nothing is written into the run's folder. The step is compared with what the run recorded: it is
    bitwise the same, or the first value that differs is named.

    \b
    Examples:
      trackside replay runs/mine --step 1200
      trackside replay runs/mine --step 1200 --save-batch batch.safetensors
      trackside replay runs/mine --step 1200 --with gradient_norm --break
      trackside replay runs/mine --step 1200 --with save_weights --into seen
      trackside replay runs/mine/capsules/step-0000001200
    """
    with reported_errors(as_json, traceback):
        crash = _of_capsule(run, overrides or [], step, yes=yes, as_json=as_json)
    if crash is not None:
        print(json.dumps(crash.as_dict()) if as_json else printable(_about_capsule(crash)))
        raise typer.Exit(1 if crash.same is False else 0)
    with reported_errors(as_json, traceback):
        if step is None:
            raise UsageError("which step of the run?", expected="--step N, from 1 on")
        if save_batch is not None:
            save_batch = file_path(save_batch, "--save-batch")
        found = _of_run(
            run,
            step,
            overrides=overrides or [],
            callbacks=_callbacks(with_callback or [], stop_inside=stop_inside),
            without=without or [],
            into=None if into is None else folder_path(into, "--into"),
            yes=yes,
            as_json=as_json,
        )
        if save_batch is not None:
            found.save_batches(save_batch)
    print(json.dumps(found.as_dict()) if as_json else printable(_text(found)))


def _of_capsule(
    folder: str, overrides: list[str], step: int | None, *, yes: bool, as_json: bool
) -> CapsuleReplay | None:
    """Make the step of a crash capsule again; None where the folder holds none."""
    from trackside.proof.capsules import capsule_way, is_capsule, read_capsule, replay_capsule

    if not is_capsule(folder):
        return None
    capsule = read_capsule(folder)
    if step not in (None, capsule.step):
        raise UsageError(f"the capsule is of step {capsule.step}", remedy="leave `--step` out")
    made, way = capsule_way(capsule, overrides)
    if not yes:
        confirm(way, can_ask=not as_json and sys.stdin.isatty())
    return replay_capsule(capsule, made, way)


def _about_capsule(found: CapsuleReplay) -> str:
    capsule, way = found.capsule, found.way
    origin = "the start" if way.checkpoint is None else way.checkpoint.name
    lines = [f"step {capsule.step}; {counted(way.steps, 'step')} trained from {origin}"]
    recorded = capsule.error
    if recorded is not None:
        lines.append(f"recorded: {recorded['type']}: {recorded['message']}")
    else:
        lines.append(f"recorded: {capsule.content['said']}")
    if found.error is not None:
        lines.append(f"now:      {type(found.error).__name__}: {found.error}")
    if found.non_finite:
        lines.append(f"not finite: {', '.join(found.non_finite[:SHOWN])}")
    if found.same_batch is not None:
        words = "bitwise that of the capsule" if found.same_batch else "another one"
        lines.append(f"batch: {words}")
    verdicts = {
        True: "it ends the same way",
        False: "it ends otherwise",
        None: "an alarm has no error to compare; the step comes to its end",
    }
    lines.append(f"verdict: {verdicts[found.same]}")
    return "\n".join(lines)


def _of_run(
    run: str,
    step: int,
    *,
    overrides: list[str],
    callbacks: list[Any],
    without: list[str],
    into: Path | None,
    yes: bool,
    as_json: bool,
) -> Replay:
    """Replay a step of the run in a folder; ask before beginning at its start."""
    from trackside.proof.made_again import made_again, way_to
    from trackside.proof.replay import replay_along

    made = made_again(run, overrides)
    way = way_to(made, step)
    if not yes:
        confirm(way, can_ask=not as_json and sys.stdin.isatty())
    return replay_along(made, way, callbacks=callbacks, without=without, directory=into)


def confirm(way: Way, *, can_ask: bool) -> None:
    """Ask before training from the start of a run; leave, or raise, without a yes."""
    if way.checkpoint is not None:
        return
    said = (
        f"no checkpoint is left before step {way.step}: {counted(way.steps, 'step')} trained again"
    )
    if not can_ask:
        raise UsageError(said, remedy="add `--yes` to train them")
    typer.confirm(f"{said}. Begin?", abort=True)


def _callbacks(given: list[str], *, stop_inside: bool) -> list[Any]:
    from trackside.proof.joining import Debugger, callback_from

    debugger = [Debugger()] if stop_inside else []
    return [*map(callback_from, given), *debugger]


def _text(found: Replay) -> str:
    way, seen = found.way, found.observation
    origin = "the start" if way.checkpoint is None else way.checkpoint.name
    lines = [
        f"step {way.step}; {counted(way.steps, 'step')} trained from {origin}",
        f"verdict: {found.verdict}",
    ]
    if found.error is not None:
        lines.append(f"error: {type(found.error).__name__}: {found.error}")
    for one in seen.batches:
        lines.append(f"batch: {one.batch}")
        if one.loss is not None:
            lines.append(f"  loss {one.loss:.6g}")
        if one.sample_losses is not None:
            lines.append(f"  largest losses: {_largest(one)}")
    if seen.gradient_norm is not None:
        lines.append(f"gradient norm {seen.gradient_norm:.6g}{_applied(seen)}")
    largest = sorted(seen.module_gradient_norms.items(), key=lambda pair: -pair[1])[:SHOWN]
    lines += [f"  {name or 'model'} {norm:.4g}" for name, norm in largest]
    if seen.non_finite:
        lines.append("not finite:")
        listed = list(seen.non_finite.items())[:SHOWN]
        lines += [f"  {name}: {count} values" for name, count in listed]
    lines.append("activations:")
    lines += [
        f"  {one.module} ({one.kind}): {one.dtype} {list(one.shape)}"
        + (f", {one.non_finite} values not finite" if one.non_finite else "")
        for one in seen.activations[:SHOWN]
    ]
    if len(seen.activations) > SHOWN:
        lines.append(f"  and {len(seen.activations) - SHOWN} more; `--json` has all")
    lines.append(f"took {seen.seconds * 1e3:.1f} ms, observation included")
    return "\n".join(lines)


def _largest(one: Any) -> str:
    indices = one.batch.samples
    named = [
        (indices[place] if place < len(indices) else f"place {place}", loss)
        for place, loss in one.ranked()[:SHOWN]
    ]
    return ", ".join(f"{index}: {loss:.4g}" for index, loss in named)


def _applied(seen: Any) -> str:
    applied = seen.applied_gradient_norm
    if applied is None or applied == seen.gradient_norm:
        return ""
    return f", {applied:.6g} as applied"
