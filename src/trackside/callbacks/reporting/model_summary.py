"""`ModelSummary`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from rich.text import Text

from trackside.callbacks.reporting import terminal
from trackside.callbacks.reporting.layer_table import layers, one_line, shape_of, table
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome
from trackside.progress import whole_number
from trackside.run import Run

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle


@final
class ModelSummary(RankZeroCallback):
    """Prints what is trained: one line per model, or a table of its layers.

    The table has each layer's name, class, the shape it gave for the first batch, its parameters
    and how many of them are trained. The shapes come from the first step of training itself, not
    from a pass of their own; the table is printed then. A compiled model has no shapes.

    Args:
        depth: Levels of the table: 1 shows the model's direct children, 2 theirs as well. 0 prints
            the line alone.

    Example:
        >>> ModelSummary(depth=1)
        ModelSummary(depth=1)
    """

    effect = "observes"
    on_error = "warn"

    def __init__(self, *, depth: int = 0) -> None:
        self.depth = whole_number(depth, "depth")
        self._handles: list[RemovableHandle] = []

    def on_fit_start(self, run: Run) -> None:
        for name, model in run.models.items():
            terminal.say(one_line(name, model))
            if not self.depth:
                continue
            if getattr(model, "_compiled_call_impl", None) is not None:
                # Hooks on layers would be traced into the compiled graph, and compile it twice.
                self._print(name, model, {})
            else:
                self._watch(name, model)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._remove_handles()

    def _watch(self, name: str, model: nn.Module) -> None:
        """Note the shapes of one pass through `model`, print them, and be gone."""
        shapes: dict[str, str] = {}
        handles: list[RemovableHandle] = []

        def note(layer: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                shapes[layer] = shape_of(output)

            return hook

        def finish(module: nn.Module, inputs: Any, output: Any) -> None:
            for handle in handles:
                handle.remove()
            self._print(name, model, shapes)

        for layer, module in layers(model, self.depth):
            handles.append(module.register_forward_hook(note(layer)))
        handles.append(model.register_forward_hook(finish))
        self._handles += handles

    def _print(self, name: str, model: nn.Module, shapes: dict[str, str]) -> None:
        header, *rows = table(model, self.depth, shapes)
        terminal.say(Text(header, "bold"))
        for row in rows:
            terminal.say(row)

    def _remove_handles(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
