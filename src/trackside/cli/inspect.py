"""`trackside inspect`: what is in a checkpoint, and whether it is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackside.cli.running import AsJson, reported_errors
from trackside.errors import UsageError, printable
from trackside.outcome import FAILED
from trackside.progress import counted

if TYPE_CHECKING:
    from trackside.checkpoint import Candidate, Inspection


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A checkpoint, or a folder that holds some.", show_default=False
        ),
    ],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Tell what is in a checkpoint, after verifying every byte of it.

    Of a run's folder, list its checkpoints; those that the run has left behind, when it was resumed
    from an earlier one, are marked. The exit code is 1 when something is damaged.

    \b
    Examples:
      trackside inspect runs/mine
      trackside inspect runs/mine/checkpoints/step-0000001200 --tensors
    """
    with reported_errors(as_json, False):
        from trackside.checkpoint import candidates
        from trackside.checkpoint import inspect as look_into
        from trackside.machine.paths import local_path

        path = local_path(path)
        if not path.is_dir():
            raise UsageError(f"there is no folder {path}")
        roots = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
        found = [one for root in roots for one in candidates(root)]
        looked = None if found else look_into(path)
    if looked is None:
        _print_list(found, as_json)
        sound = all(one.problem is None for one in found)
    else:
        print(
            json.dumps(_plain(looked), default=str)
            if as_json
            else printable(_page(looked, tensors))
        )
        sound = looked.verified
    raise typer.Exit(0 if sound else FAILED)


def _print_list(found: list[Candidate], as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "path": str(one.path),
                "step": one.step,
                "problem": one.problem,
                "left_behind": one.left_behind,
            }
            for one in found
        ]
        print(json.dumps(rows))
        return
    from trackside.cli import layout

    for one in found:
        told_of = one.problem or _one_line(one.manifest)
        told_of = f"left behind: {told_of}" if one.left_behind else told_of
        line = layout.one_line(f"{one.path}  {told_of}")
        print(layout.folded(line, layout.width(), hang=2))


def _one_line(manifest: Any) -> str:
    from trackside.vocabulary.directions import direction

    better = {name: v for name, v in manifest.metrics.items() if direction(name) is not None}
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in better.items())
    size = f"{manifest.size_bytes / 1e6:.1f} MB"
    return "; ".join(filter(None, [manifest.saved_at, size, manifest.reason, metrics]))


def _page(looked: Inspection, tensors: bool) -> str:
    lines = [str(looked.path), "verified" if looked.verified else "DAMAGED:"]
    lines += [f"  {problem}" for problem in looked.problems]
    manifest = looked.manifest
    if manifest is not None:
        versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
        files = counted(len(manifest.files), "file")
        lines += [
            f"step     {manifest.step:,}, saved {manifest.saved_at} ({manifest.reason})",
            f"run      {manifest.run_id}, on {manifest.world_size} ranks; {versions}",
            f"size     {manifest.size_bytes / 1e6:.2f} MB in {files}",
        ]
        lines += [f"metric   {name} {value:.6g}" for name, value in manifest.metrics.items()]
    lines.append(f"tensors  {len(looked.tensors):,}")
    if tensors:
        for one in looked.tensors:
            shape = "x".join(map(str, one.shape)) or "scalar"
            lines.append(f"  {one.path}  {one.dtype} {shape}")
    lines += [f"callback {name}" for name in looked.values.get("callbacks", {})]
    lines += [f"ignored  {name}" for name in looked.ignored]
    return "\n".join(lines)


def _plain(looked: Inspection) -> dict[str, Any]:
    return {**asdict(looked), "verified": looked.verified}
