"""`trackside callbacks`: what there is, and the options of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackside.cli.running import reported_errors

if TYPE_CHECKING:
    from rich.text import Text

    from trackside.config.reference import Reference

READABLE = 100
"""Columns of prose at most: longer lines are hard to read."""
Listed = dict[str, list[dict[str, str]]]


def callbacks(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Short or full name of one callback, or a purpose.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--pages", help="Write a reference page of each into this folder.", show_default=False
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            help="Write the names of all that come with Trackside into this file: the "
            "`__init__.py` of `trackside.callbacks`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    r"""List the callbacks that can be named by `kind:`, or show the options of one.

    \b
    Examples:
      trackside callbacks
      trackside callbacks stopping
      trackside callbacks early_stopping
      trackside callbacks my_package.callbacks.MyCallback --json
      trackside callbacks --pages docs/reference/callbacks
    """
    from trackside.cli import layout

    if folder is not None:
        with reported_errors(as_json, False):
            from trackside.cli.callback_pages import write_pages
            from trackside.machine.paths import folder_path

            print(f"{len(write_pages(folder_path(folder, '--pages')))} pages in {folder}")
        return
    if index is not None:
        with reported_errors(as_json, False):
            from trackside.cli import callback_index
            from trackside.machine.paths import file_path
            from trackside.run_folder.inside import replace_inside

            place = file_path(index, "--index")
            replace_inside(place.parent, place.name, callback_index.index())
        return
    listed = _listed()
    if name is None or name in listed:
        listed = listed if name is None else {name: listed[name]}
        layout.show(json.dumps(listed, indent=2) if as_json else _table(listed, layout.width(None)))
        return
    from trackside.cli.refusal import tell
    from trackside.errors import TracksideError

    try:
        reference = _reference(name, listed)
    except TracksideError as error:
        raise typer.Exit(tell(error, as_json=as_json, with_traceback=False)) from error
    layout.show(_as_json(reference) if as_json else _page(reference, layout.width(READABLE)))


def _listed() -> Listed:
    """By purpose: name and one line of each. Imports none of them."""
    from trackside.config.builtin_callbacks import builtin_callbacks
    from trackside.config.checking.kinds import registered_callbacks

    found: Listed = {}
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


def _reference(name: str, listed: Listed) -> Reference:
    """The reference of a callback, built-in or by its full name.

    Raises:
        KindError: There is no callback of that name.
    """
    from trackside.config.checking.kinds import CALLBACKS, KindError, bare
    from trackside.config.experiment.sections import has_hooks
    from trackside.config.reference import reference_of

    if "." not in name:
        short = {bare(one["name"]): one["name"] for group in listed.values() for one in group}
        if bare(name) not in short:
            raise KindError(
                f"there is no callback named `{name}`", remedy=_nearest(name, short, listed)
            )
        name = short[bare(name)]
    target = CALLBACKS.resolve(name)
    if not isinstance(target, type) or not has_hooks(target):
        raise KindError(
            f"`{name}` is not a callback", expected="a class with hooks, such as `on_step_end`"
        )
    return reference_of(name, target)


def _nearest(name: str, short: dict[str, str], listed: Listed) -> str:
    """Names that are written almost so, or have a word of it."""
    from difflib import get_close_matches

    from trackside.config.checking.kinds import bare

    near = get_close_matches(bare(name), short, n=3, cutoff=0.7)
    words = [word for word in name.lower().replace("-", "_").split("_") if len(word) > 2]
    near += [one for one in short if one not in near and any(word in one for word in words)]
    purpose = get_close_matches(name, listed, n=1, cutoff=0.8)
    found = [f"`{short[one]}`" for one in near[:4]] + [f"`{one}` (a purpose)" for one in purpose]
    if not found:
        return "`trackside callbacks` lists them; your own by its full name: my_module.MyClass"
    return f"did you mean {' or '.join(found)}?"


def _table(listed: Listed, width: int | None) -> Iterator[Text]:
    from rich.text import Text

    from trackside.cli.callback_pages import about
    from trackside.cli.layout import described, wrapped

    for purpose, group in listed.items():
        column = max(len(one["name"]) for one in group) + 2
        text = "From installed packages." if purpose == "installed" else about(purpose)
        yield Text(purpose, "bold")
        yield from (Text(line, "italic") for line in wrapped(text, width))
        for one in group:
            yield from described(one["name"], one["summary"], column, width)
        yield Text()
    yield Text("trackside callbacks NAME shows the options of one.", "dim")


def _page(one: Reference, width: int | None) -> Iterator[Text]:
    from rich.text import Text

    from trackside.cli.callback_pages import facts, raised
    from trackside.cli.layout import described, paragraphs, plain

    yield Text(one.class_name, "bold").append(f"  {one.purpose}", "not bold dim")
    yield from paragraphs(one.summary, width)
    if one.text:
        yield Text()
        yield from paragraphs(one.text, width)
    yield from _titled("Options")
    if not one.options:
        yield Text("  none")
    column = max([len(option.name) for option in one.options], default=0) + 2
    for option in one.options:
        default = "needed" if option.default is None else f"default {option.default}"
        yield from described(option.name, f"{option.kind}; {default}", column, width, "green")
        yield from described("", option.doc, column, width)
    yield from _titled("In a file")
    needed = "".join(f"\n    {o.name}: ..." for o in one.options if o.default is None)
    yield from plain(one.yaml or f"callbacks:\n  mine:\n    kind: {one.name}{needed}")
    yield from _titled("In Python")
    yield from plain(one.python or f"{one.class_name}(...)")
    yield from _titled("In a run")
    for title, text in facts(one):
        yield from described(title, text, 10, width)
    if one.raises:
        yield from _titled("Errors")
        yield from paragraphs("\n".join(raised(one.raises)), width, indent=2)
    if one.sources:
        yield from _titled("Sources")
        yield from paragraphs(one.sources, width, indent=2)
    yield Text()
    yield Text("Beside its options, every callback takes:", "dim")
    for option in _of_every_callback():
        yield from described(option.name, f"{option.kind}; default {option.default}", 16, width)


def _titled(title: str) -> Iterator[Text]:
    from rich.text import Text

    yield Text()
    yield Text(title, "bold")


def _of_every_callback() -> list[Any]:
    from trackside.config.experiment.sections import callback_attributes
    from trackside.config.reference import option_reference

    return [option_reference(option) for option in callback_attributes().values()]


def _as_json(reference: Reference) -> str:
    from trackside.config.reference import as_mapping, option_as_mapping

    described = as_mapping(reference)
    described["of every callback"] = [option_as_mapping(one) for one in _of_every_callback()]
    return json.dumps(described, indent=2)
