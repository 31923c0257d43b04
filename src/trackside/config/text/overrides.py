"""Overrides on the command line: `trainer.epochs=5`, `~callbacks.ema`, `data.val.root=/data`."""

from __future__ import annotations

from dataclasses import dataclass

from trackside.config.text.document import Layer, parse
from trackside.config.text.place import Place
from trackside.config.text.problem import Findings

SOURCE = "command line"


@dataclass(frozen=True, slots=True)
class Override:
    """One change of one value."""

    argument: str
    """As it was typed."""
    keys: tuple[str, ...]
    """The path, as text: whether `0` is an index is known once it is applied."""
    value: Layer | None
    """The new value; None removes the key."""

    def place(self) -> Place:
        """Where the key stands in the argument."""
        text = ".".join(self.keys)
        return Place(SOURCE, 0, self.argument.index(text) + 1, self.argument, len(text))


def is_override(argument: str) -> bool:
    """Whether an argument is an override (`key=value`, `~key`) and not the name of a file."""
    return "=" in argument or argument.startswith("~")


def parse_override(argument: str, findings: Findings) -> Override | None:
    """Read one override; None, with the reason in `findings`, when it is not an override."""
    removes = argument.startswith("~")
    key, equals, text = argument.partition("=")
    keys = tuple(key.removeprefix("~").split("."))
    whole = Place(SOURCE, 0, 1, argument, len(argument))
    if removes and equals:
        findings.add(
            "`~` takes a key away and has no value",
            whole,
            remedy=f"write `~{'.'.join(keys)}` to remove it, `{'.'.join(keys)}={text}` to set it",
        )
        return None
    if not equals and not removes:
        findings.add("this is neither a file nor an override", whole, expected="key=value, or ~key")
        return None
    if not all(keys) or any(k != k.strip() for k in keys):
        findings.add(
            "an override begins with the path of a key",
            whole,
            expected="keys joined by dots, such as `trainer.epochs=5`",
            received=key,
        )
        return None
    if removes:
        return Override(argument, keys, None)
    value = parse(text, SOURCE, findings, before=f"{key}=")
    return None if value is None else Override(argument, keys, value)
