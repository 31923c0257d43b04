"""`trackside callbacks`: what there is, and the options of one."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def callbacks(
    name: Annotated[
        str | None, typer.Argument(help="Short or full name of one callback.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    r"""List the callbacks that can be named by `kind:`, or show the options of one.

    \b
    Examples:
      trackside callbacks
      trackside callbacks early_stopping
      trackside callbacks my_package.callbacks.MyCallback --json
    """
    if name is None:
        listed = _listed()
        print(json.dumps(listed, indent=2) if as_json else _table(listed))
        return
    from trackside.cli.refusal import tell
    from trackside.config.kinds import CALLBACKS
    from trackside.errors import TracksideError

    try:
        target = CALLBACKS.resolve(name)
    except TracksideError as error:
        raise typer.Exit(tell(error, as_json=as_json, with_traceback=False)) from error
    described = _described(name, target)
    print(json.dumps(described, indent=2) if as_json else _page(described))


def _listed() -> dict[str, list[dict[str, str]]]:
    """By purpose: name and one line of each. Imports none of them."""
    from trackside.config.builtin_callbacks import builtin_callbacks
    from trackside.config.kinds import registered_callbacks

    found: dict[str, list[dict[str, str]]] = {}
    for one in builtin_callbacks().values():
        found.setdefault(one.purpose, []).append(
            {"name": one.name, "kind": one.reference, "summary": one.summary}
        )
    for point in registered_callbacks():
        kind = point.value.replace(":", ".")
        summary = f"from {point.dist.name if point.dist else 'an installed package'}"
        found.setdefault("installed", []).append(
            {"name": point.name, "kind": kind, "summary": summary}
        )
    return found


def _table(listed: dict[str, list[dict[str, str]]]) -> str:
    width = max((len(one["name"]) for group in listed.values() for one in group), default=0)
    lines: list[str] = []
    for purpose, group in listed.items():
        lines += [purpose, *(f"  {one['name']:<{width}}  {one['summary']}" for one in group), ""]
    return "\n".join([*lines, "trackside callbacks NAME shows the options of one."])


def _described(name: str, target: Any) -> dict[str, Any]:
    from trackside.config.options import options_of, summary_of
    from trackside.config.sections import callback_attributes
    from trackside.config.wording import describe

    def row(option: Any) -> dict[str, Any]:
        return {
            "name": option.name,
            "type": describe(option.hint),
            "default": None if option.required else repr(option.default),
            "required": option.required,
            "doc": option.doc,
        }

    return {
        "name": name,
        "kind": f"{target.__module__}.{target.__qualname__}",
        "summary": summary_of(target),
        "options": [row(option) for option in options_of(target).table.values()],
        "of every callback": [row(option) for option in callback_attributes().values()],
    }


def _page(described: dict[str, Any]) -> str:
    lines = [described["kind"], "", described["summary"]]
    for title, heading in (("options", "Options"), ("of every callback", "Of every callback")):
        lines += ["", f"{heading}:"]
        if not described[title]:
            lines.append("  none")
        for row in described[title]:
            default = "needed" if row["required"] else f"default {row['default']}"
            lines.append(f"  {row['name']}: {row['type']}; {default}")
            lines += [f"      {row['doc']}"] if row["doc"] else []
    return "\n".join(lines)
