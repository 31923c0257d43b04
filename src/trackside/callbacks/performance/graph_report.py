"""Report of what torch.compile makes of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Counters = Mapping[str, Mapping[str, int]]


def difference(after: Counters, before: Counters) -> dict[str, dict[str, int]]:
    """Increases of counters, without those that stayed."""
    gained = {
        topic: {
            name: count - before.get(topic, {}).get(name, 0)
            for name, count in counts.items()
            if count > before.get(topic, {}).get(name, 0)
        }
        for topic, counts in after.items()
    }
    return {topic: counts for topic, counts in gained.items() if counts}


def of_counters(gained: Counters) -> str:
    """The report of a model that is compiled: why its graphs break, and everything counted."""
    breaks = gained.get("graph_break", {})
    lines = [f"graph breaks: {sum(breaks.values())}"]
    for reason, count in sorted(breaks.items(), key=lambda item: -item[1]):
        lines += ["", f"{count} times:", _indented(reason)]
    for topic, counts in gained.items():
        if topic != "graph_break":
            lines += ["", f"{topic}:", *(f"    {name}: {count}" for name, count in counts.items())]
    return "\n".join(lines) + "\n"


def of_explanation(name: str, explanation: Any) -> str:
    """The report of a model that isn't compiled, from what `torch._dynamo.explain` returns."""
    lines = [
        f"model {name!r}",
        f"graphs: {explanation.graph_count}",
        f"graph breaks: {explanation.graph_break_count}",
        f"operations: {explanation.op_count}",
    ]
    for number, reason in enumerate(explanation.break_reasons, start=1):
        lines += ["", f"break {number}:", _indented(str(reason.reason))]
        for frame in reason.user_stack:
            lines.append(f"    at {frame.filename}:{frame.lineno}, in {frame.name}")
    return "\n".join(lines) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())
