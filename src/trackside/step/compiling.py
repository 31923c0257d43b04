"""Parts of a step as compiled graphs, one for each form of their arguments.

A graph is fixed for the shapes, types and constants that it was compiled with: which graph computes
a batch follows from the batch alone, never from what came before it. So a resumed run uses the same
graphs as one that was never interrupted.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Hashable
from time import perf_counter
from types import FunctionType
from typing import Any

import torch
from torch._dynamo import config as tracing
from torch._dynamo import lookup_backend
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from trackside.errors import UsageError

logger = logging.getLogger("trackside")

BACKEND = "inductor"
"""The compiler that torch is asked for; tests that only trace take another."""
OPTIONS = {"fallback_random": True}
"""Dropout draws as it does without a compiler."""
MANY_FORMS = 8
"""After so many, it is said what each of them costs."""


def lacks_compiler() -> str | None:
    """Why nothing can be compiled here; None where it can."""
    if not hasattr(tracing, "trace_autograd_ops"):
        return f"torch {torch.__version__} can't trace a backward pass: torch 2.11 or later can"
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415 - takes a second
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415

    try:
        found = get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError, OSError):
        return "there is no C++ compiler (g++, or the one that the variable CXX names)"
    return None if shutil.which(found) else f"the C++ compiler {found!r} isn't there"


class CompiledPart:
    """A function of a step, compiled once for each form of its arguments.

    Args:
        name: What it computes, for messages.
        function: Made of torch's operations alone.
        plain: Computes the same where the function can't be compiled; None: the function does.
        note: Is called with the seconds of each attempt to compile.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        plain: Callable[..., Any] | None = None,
        note: Callable[[float], None] | None = None,
    ) -> None:
        self._name = name
        self._function = function
        self._plain = plain or function
        self._note = note
        self._ways: dict[Hashable, Callable[..., Any]] = {}
        self._may_compile = False
        self.compilations = 0
        self.seconds = 0.0
        """Time spent in compilations."""

    def __call__(self, form: Hashable, *arguments: Any) -> Any:
        """The function's result; `form` is that of the arguments."""
        way = self._ways.get(form)
        if way is None:
            way = self._ways[form] = self._made()
            if len(self._ways) == MANY_FORMS:
                self._warn_of_forms()
            return self._compiled(way, form, arguments)
        try:
            return way(*arguments)
        except (
            TorchDynamoException,
            FailOnRecompileLimitHit,
        ):  # something that it was compiled with has changed
            return self._compiled(way, form, arguments)

    def _made(self) -> Callable[..., Any]:
        """The function, to be compiled. torch keeps graphs with the code: each has its own."""
        code = self._function.__code__
        own = FunctionType(
            code.replace(co_name=f"{code.co_name}_{len(self._ways)}"),
            self._function.__globals__,
            closure=self._function.__closure__,
        )
        return torch.compile(own, fullgraph=True, dynamic=False, backend=self._backend)

    def _backend(self, graph: Any, inputs: Any) -> Any:
        if not self._may_compile:
            raise RuntimeError("compilations are begun and timed by `CompiledPart`")
        self.compilations += 1
        if BACKEND == "inductor":
            return torch._inductor.compile(graph, inputs, options=OPTIONS)
        return lookup_backend(BACKEND)(graph, inputs)

    def _compiled(self, way: Callable[..., Any], form: Hashable, arguments: Any) -> Any:
        """Compile and compute; where that fails, say so and compute without."""
        before, began = self.compilations, perf_counter()
        self._may_compile = True
        try:
            with tracing.patch(trace_autograd_ops=True, skip_nnmodule_hook_guards=False):
                result = way(*arguments)
        except FailOnRecompileLimitHit as error:
            raise UsageError(
                f"{self._name} is compiled again and again: what it is made of keeps changing",
                received=_reason(error),
                remedy="let it be the same in every step, or leave `step='compiled'` out",
                option="step",
            ) from error
        except Exception as error:
            self._count_since(began)
            logger.warning(
                "%s can't be compiled, and is computed without: %s", self._name, _reason(error)
            )
            self._ways[form] = self._plain
            return self._plain(*arguments)
        finally:
            self._may_compile = False
        if self.compilations > before:
            logger.info("%s was compiled in %.1f s", self._name, self._count_since(began))
        return result

    def _count_since(self, began: float) -> float:
        """Add the time of an attempt to compile, which may have failed; return it, in seconds."""
        seconds = perf_counter() - began
        self.seconds += seconds
        if self._note is not None:
            self._note(seconds)
        return seconds

    def _warn_of_forms(self) -> None:
        logger.warning(
            "%s has been compiled for %d shapes of batches, in %.0f s, and is for each that is new."
            " To fix: bring batches to a few shapes (padding, drop_last), or leave step='compiled'"
            " out",
            self._name,
            len(self._ways),
            self.seconds,
        )


def _reason(error: BaseException) -> str:
    """The text of a compiler's error, without the advice on how to debug the compiler."""
    text = str(error).split("\n\nSet TORCH")[0].split("\n For more details")[0]
    place = str(error).partition("from user code:\n")[2].strip().split("\n\n")[0]
    kept = " ".join(text.split())
    return kept if not place or place in text else f"{kept}; in {' '.join(place.split())}"
