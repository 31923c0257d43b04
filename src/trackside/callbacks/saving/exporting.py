"""Programs made of models: traced by `torch.export`, compared with the model, written whole."""

from __future__ import annotations

import copy
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trackside.callbacks.saving.weight_files import own_names
from trackside.checkpoint.errors import CheckpointWriteError
from trackside.checkpoint.files import explain, flush_folder, remedy_for
from trackside.data.batches import Batch, describe, take
from trackside.data.counting import samples_in
from trackside.errors import NonFiniteError, TracksideError, UsageError
from trackside.machine import randomness
from trackside.machine.accelerator import forget_example_inputs
from trackside.step.output import TARGETS

SAMPLES = 4
"""In the example that is traced: neither 0 nor 1, which would be built into the program."""
OTHER_SIZES = (1, 3)
"""Batches of these sizes are tried too, where the size is free."""

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a model."""
Answer = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Traced:
    """A model that was made a program, and what both are called with."""

    model: nn.Module
    """A copy on the host, in evaluation."""
    program: Any
    """A `torch.export.ExportedProgram`, without example inputs."""
    example: Batch
    """`SAMPLES` samples on the host."""
    sizes: tuple[int, ...]
    """Sizes of batches that the program has to take."""

    def calls(self) -> Iterator[Call]:
        """The arguments for each of these sizes."""
        for size in self.sizes:
            yield arguments(take(self.example, range(size)))


def arguments(batch: Batch) -> Call:
    """The arguments of the model for a batch; the target is left out.

    The inputs of `(inputs, target)`, or of a mapping without its target; mappings are given by
    keyword.
    """
    inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if isinstance(inputs, Mapping):
        return (), {name: value for name, value in inputs.items() if name not in TARGETS}
    return (inputs,), {}


def host_copy(model: nn.Module, state: Mapping[str, Any] | None = None) -> nn.Module:
    """A copy of a model on the host, in evaluation, without what compiling and DDP put around it.

    Args:
        model: Left as it is.
        state: Tensors for the copy in the place of its own, under the names that the model has, or
            that it has as it was written.
    """
    names = own_names(model)
    plain = {p: state[n] if n in state else state[p] for p, n in names.items()} if state else None
    inside: Any = model
    while True:
        if hasattr(inside, "_orig_mod"):
            inside = inside._orig_mod
        elif isinstance(inside, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inside = inside.module
        else:
            break
    copied: nn.Module = copy.deepcopy(inside).to("cpu").eval()
    if plain is not None:
        copied.load_state_dict({name: plain[p] for p, name in own_names(copied).items()})
    return copied.requires_grad_(False)


def trace(model: nn.Module, batch: Batch, *, dynamic_batch: bool) -> Traced:
    """Make a program of a model.

    Args:
        model: What `host_copy` returned.
        batch: At least one sample, in host memory.
        dynamic_batch: Whether the program takes batches of any size.

    Raises:
        UsageError: torch can't trace the model; its error is the cause.
    """
    count = samples_in(batch)
    example = take(batch, [index % count for index in range(SAMPLES)])
    args, kwargs = arguments(example)
    size = torch.export.Dim("batch") if dynamic_batch else None
    # By name where arguments are, in order where they are given so.
    shapes: Any = _shapes(kwargs, size) if kwargs else tuple(_shapes(part, size) for part in args)
    try:
        with _silent(), randomness.preserved():
            # The compiler, which torch 2.6 takes by default, traces eight programs in a process.
            program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise UsageError(
            f"`{type(model).__name__}` can't be exported: torch can't trace it",
            received=_in_one_line(error),
            remedy="write what depends on values of tensors with torch.where or torch.cond, and "
            "no batch size as a number; or dynamic_batch=False, where one size will do",
        ) from error
    # They would be pickled into the file, and are somebody's data.
    forget_example_inputs(program)
    return Traced(model, program, example, (SAMPLES, *(OTHER_SIZES if dynamic_batch else ())))


def _in_one_line(error: BaseException) -> str:
    first, *_ = [*str(error).strip().splitlines(), "no message"]
    return f"{type(error).__name__}: {first}"


def _shapes(value: Any, size: Any) -> Any:
    """The free dimensions: the first of each tensor with a sample along it."""
    if isinstance(value, Tensor):
        free = size is not None and value.ndim > 0 and len(value) == SAMPLES
        return {0: size} if free else None
    if isinstance(value, Mapping):
        return {name: _shapes(part, size) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_shapes(part, size) for part in value)
    return None


def compare(traced: Traced, answer: Answer, tolerance: float, what: str) -> None:
    """Refuse a program whose outputs aren't the model's.

    Args:
        traced: The model and its program.
        answer: Runs what was made of it: from the arguments to the outputs, nested as those of the
            model, or as a flat sequence of tensors.
        tolerance: Largest difference, absolute and relative to the model's value.
        what: Made of the model, for messages.

    Raises:
        TracksideError: They differ; names the size of the batch and by how much.
        NonFiniteError: The model's own outputs are NaN or infinite.
    """
    for size, (args, kwargs) in zip(traced.sizes, traced.calls(), strict=True):
        with torch.no_grad(), randomness.preserved():
            expected = list(tensors_in(traced.model(*args, **kwargs)))
        if not all(bool(one.isfinite().all()) for one in expected):
            raise NonFiniteError(
                f"the outputs of `{type(traced.model).__name__}` are not finite; it isn't exported",
                received=describe(expected),
            )
        try:
            with torch.no_grad():
                received = list(tensors_in(answer(*args, **kwargs)))
            torch.testing.assert_close(received, expected, rtol=tolerance, atol=tolerance)
        except Exception as error:
            raise TracksideError(
                f"{what} does not do what the model does, with batches of {size}",
                expected=f"the same outputs to {tolerance:g}",
                received=" ".join(str(error).split())[:300],
                remedy="what depends on the size of a batch, on time or on chance can't be "
                "exported; check=False writes it all the same",
            ) from error


def tensors_in(outputs: Any) -> Iterator[Tensor]:
    """The tensors in what a model returned, in order."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for part in outputs.values():
            yield from tensors_in(part)
    elif isinstance(outputs, (tuple, list)):
        for part in outputs:
            yield from tensors_in(part)
    elif hasattr(outputs, "__dataclass_fields__"):
        yield from tensors_in(vars(outputs))


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress warnings of exporters about their own future."""
    with warnings.catch_warnings():
        for kind in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        yield


def to_onnx(traced: Traced) -> Any:
    """The program as `torch.onnx.ONNXProgram`.

    Raises:
        UsageError: torch and onnxscript can't write it in ONNX; their error is the cause.
    """
    try:
        with _silent(), randomness.preserved():
            return torch.onnx.export(traced.program, verbose=False)
    except Exception as error:
        raise UsageError(
            f"`{type(traced.model).__name__}` can't be exported to ONNX by torch "
            f"{torch.__version__} and onnxscript {version('onnxscript')}",
            received=_in_one_line(_first_cause(error)),
            remedy="update torch and onnxscript together, or format='torch'",
        ) from error


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def run_onnx(file: Path, onnx: Any) -> Answer:
    """Runner of an ONNX file, by the reference implementation: exact, and slow."""
    with _silent():
        evaluator = onnx.reference.ReferenceEvaluator(str(file))

    def answer(*args: Any, **kwargs: Any) -> Sequence[Tensor]:
        given = [tensor.numpy() for tensor in tensors_in([args, kwargs])]
        inputs = dict(zip(evaluator.input_names, given, strict=True))
        with _silent():
            return [torch.as_tensor(one) for one in evaluator.run(None, inputs)]

    return answer


def write_whole(path: Path, run_id: str, write: Callable[[Path], None]) -> None:
    """Have a file, and others beside it, written elsewhere and moved here when they are whole.

    Args:
        path: The file; what was there is replaced last.
        run_id: Of the run, for the name of the folder in between.
        write: Writes the file, and any others, into the folder of the path that it gets.

    Raises:
        CheckpointWriteError: It could not be written; what was at `path` is as it was.
    """
    folder = path.parent / f".tmp-{run_id}-{path.stem}"
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(parents=True)
        write(folder / path.name)
        for file in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            _flush(file)
            os.replace(file, path.with_name(file.name))
        flush_folder(path.parent)
    except OSError as error:
        raise CheckpointWriteError(
            f"the model could not be written to {path}: {explain(error)}", remedy=remedy_for(error)
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
