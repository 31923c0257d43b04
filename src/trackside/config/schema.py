"""A JSON Schema of the whole file, from the same signatures that the check reads.

Editors complete keys, show what each means, and mark what is wrong. The schema is a little wider
than the check: an interpolation may stand anywhere, and options of a `kind:` that is given by its
full name are not known to it.
"""

from __future__ import annotations

import collections.abc
import enum
import inspect
import json
import os
import pathlib
import textwrap
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.config.checking import kinds
from trackside.config.checking.hints import FIXED, LISTS, MAPPINGS, full_name, is_schedule
from trackside.config.checking.kinds import Family, registered_callbacks
from trackside.config.checking.options import Option, Options, options_of, summary_of
from trackside.config.checking.trainer_options import trainer_options
from trackside.config.experiment.sections import SECTIONS, callback_attributes
from trackside.secret import is_secret
from trackside.step.optimization import Scheduler
from trackside.trainer.defaults import DEFAULTS

Schema = dict[str, Any]

INTERPOLATION: Schema = {"$ref": "#/definitions/interpolation"}
ANY_KIND: Schema = {
    "type": "object",
    "properties": {"kind": {"type": "string"}, "partial": {"type": "boolean"}},
    "required": ["kind"],
}
_LONGEST_DESCRIPTION = 300
_PERIODS = ("steps", "updates", "batches", "epochs", "samples", "tokens", "seconds")
_SIMPLE: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
    None: {"type": "null"},
}


def file_schema() -> Schema:
    """The schema of a configuration file, with every callback that is installed here."""
    data = _ref("data")
    sections: dict[str, Schema] = {
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}, INTERPOLATION]},
        "model": ANY_KIND | {"required": []},
        "data": {
            "type": "object",
            "properties": {
                "batch_size": {"anyOf": [{"type": "integer", "minimum": 1}, INTERPOLATION]},
                "drop_last": {"anyOf": [{"type": "boolean"}, INTERPOLATION]},
                "train": data,
            },
            "additionalProperties": data,
        },
        "loss": _ref("loss"),
        "metrics": {"type": "object", "additionalProperties": _ref("metric")},
        "optimizer": _ref("optimizer"),
        "scheduler": _ref("scheduler"),
        "trainer": _mapping(trainer_options().options, extra={"kind": {"type": "string"}}),
        "callbacks": _callbacks(),
        "evaluate": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "secrets": {"type": "array", "items": {"type": "string"}},
    }
    definitions = {
        "interpolation": {"type": "string", "pattern": r"\$\{.+\}|^\?\?\?$"},
        "data": _section_kind(kinds.DATA, with_options=False),
        "metric": _section_kind(kinds.METRICS, with_options=False),
        "loss": _section_kind(kinds.LOSSES),
        "optimizer": _section_kind(kinds.OPTIMIZERS, supplied=1),
        "scheduler": _section_kind(kinds.SCHEDULERS, supplied=1, more=_scheduler_options()),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Trackside experiment",
        "type": "object",
        "properties": {n: {"description": SECTIONS[n], "allOf": [sections[n]]} for n in SECTIONS},
        "additionalProperties": False,
        "definitions": definitions | _callback_definitions(),
    }


def as_text(schema: Schema) -> str:
    """The schema as JSON, a line per section and per definition: a change shows where it is."""
    parts = []
    for key, value in schema.items():
        text = json.dumps(value)
        if key in ("properties", "definitions"):
            lines = (f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items())
            text = "{\n" + ",\n".join(lines) + "\n }"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


# --- callbacks ---------------------------------------------------------------------------------


def _callback_definitions() -> dict[str, Schema]:
    """One definition per callback that has a short name."""
    found: dict[str, Schema] = {"callback": _any_callback()}
    attributes = callback_attributes()
    found |= {f"attribute.{name}": _option(option) for name, option in attributes.items()}
    for name, target in _known_callbacks().items():
        definition = _mapping(
            options_of(target), extra={n: _ref(f"attribute.{n}") for n in attributes}
        )
        definition["properties"] |= {"name": {"type": "string"}, "kind": {"type": "string"}}
        found[f"callback.{name}"] = {"description": summary_of(target), **definition}
    return found


def _known_callbacks() -> dict[str, Any]:
    names = [*builtin_callbacks(), *(point.name for point in registered_callbacks())]
    return {name: kinds.CALLBACKS.resolve(name) for name in names}


def _any_callback() -> Schema:
    """A mapping whose `kind` says which options it may have."""
    by_kind = [
        {
            "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
            "then": _ref(f"callback.{name}"),
        }
        for name in _known_callbacks()
    ]
    return {"type": "object", "properties": {"kind": _callback_kind()}, "allOf": by_kind}


def _callback_kind() -> Schema:
    return {"anyOf": [{"enum": list(_known_callbacks())}, {"type": "string"}]}


def _callbacks() -> Schema:
    needed: Schema = {"allOf": [_ref("callback"), {"type": "object", "required": ["kind"]}]}
    # In a map, the name is the kind when no other is given.
    named: dict[str, Schema] = {}
    for name in dict.fromkeys([*_known_callbacks(), *DEFAULTS]):
        own = _ref(f"callback.{_short_name(name)}")
        plain = {"if": {"required": ["kind"]}, "then": _ref("callback"), "else": own}
        named[name] = {"anyOf": [{"type": "null"}, {"type": "object", **plain}]}
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": named,
                "additionalProperties": {"anyOf": [{"type": "null"}, needed]},
            },
            {"type": "array", "items": {"anyOf": [_callback_kind(), needed]}},
            {"type": "null"},
        ]
    }


def _short_name(default: str) -> str:
    """The short name of the class of a default callback."""
    if default not in DEFAULTS:
        return default
    reference = ".".join(DEFAULTS[default])
    names = {one.reference: one.name for one in builtin_callbacks().values()}
    return names.get(reference, default)


# --- sections and options ----------------------------------------------------------------------


def _section_kind(
    family: Family,
    *,
    supplied: int = 0,
    more: dict[str, Option] | None = None,
    with_options: bool = True,
) -> Schema:
    """A short name alone, or a mapping with `kind:` whose options follow from it."""
    names = family.names()
    more = more or {}
    extra = {name: _option(option) for name, option in more.items()}
    rules = []
    for name, reference in names.items() if with_options else ():
        options = options_of(kinds.import_name(reference))
        hidden = options.positional[:supplied]
        then = _mapping(options, hidden=hidden, extra=extra)
        then["properties"]["kind"] = {"type": "string"}
        rules.append({"if": {"properties": {"kind": {"const": name}}}, "then": then})
    kind = {"anyOf": [{"enum": list(names)}, {"type": "string"}]}
    mapping: Schema = {"type": "object", "properties": {"kind": kind}, "required": ["kind"]}
    if rules:
        mapping["allOf"] = rules
    return {"anyOf": [{"type": "null"}, kind, mapping]}


def _scheduler_options() -> dict[str, Option]:
    return {n: o for n, o in options_of(Scheduler).table.items() if n != "factory"}


def _mapping(
    options: Options, *, hidden: tuple[str, ...] = (), extra: dict[str, Schema] | None = None
) -> Schema:
    shown = {n: o for n, o in options.table.items() if n not in hidden}
    properties = {name: _option(option) for name, option in shown.items()} | (extra or {})
    required = [name for name, option in shown.items() if option.required]
    if "every" in shown and is_schedule(shown["every"].hint):
        properties |= {f"every_n_{word}": {"type": "integer", "minimum": 1} for word in _PERIODS}
        required = [name for name in required if name != "every"]
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if not options.open:
        schema["additionalProperties"] = False
    return schema


def _option(option: Option) -> Schema:
    schema: Schema = {"anyOf": [hint_schema(option.hint), INTERPOLATION]}
    if option.doc:
        schema["description"] = textwrap.shorten(option.doc, _LONGEST_DESCRIPTION)
    default = option.default
    if not option.required and isinstance(default, (bool, int, float, str, types.NoneType)):
        finite = not isinstance(default, float) or default - default == 0
        schema |= {"default": default} if finite else {}
    return schema


def hint_schema(hint: Any) -> Schema:
    """JSON Schema of a value for `hint` in a file."""
    if hint in (Any, object, inspect.Parameter.empty) or isinstance(hint, str):
        return {}
    if is_schedule(hint):
        text = {"type": "string", "examples": ["100 steps", "1 epoch", "10 minutes", "25 %"]}
        none = [{"type": "null"}] if types.NoneType in get_args(hint) else []
        return {"anyOf": [text, {"type": "object"}, *none]}
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    if isinstance(hint, TypeVar):
        return hint_schema(hint.__bound__ or Any)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return hint_schema(arguments[0]) | ({"writeOnly": True} if is_secret(hint) else {})
    if origin in (Union, types.UnionType):
        return {"anyOf": [hint_schema(member) for member in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    return _class_schema(hint, origin or hint, arguments)


def _class_schema(hint: Any, bare: Any, arguments: tuple[Any, ...]) -> Schema:
    if bare is tuple and arguments and arguments[-1] is not Ellipsis:
        count = len(arguments)
        items = [hint_schema(a) for a in arguments]
        return {"type": "array", "items": items, "minItems": count, "maxItems": count}
    if bare in LISTS or bare in FIXED:
        inner = hint_schema(arguments[0]) if arguments else {}
        return {"type": "array", "items": inner}
    if bare in MAPPINGS:
        inner = hint_schema(arguments[1]) if len(arguments) > 1 else {}
        return {"type": "object", "additionalProperties": inner}
    is_class = isinstance(bare, type)
    if is_class and issubclass(bare, enum.Enum):
        return {"enum": [member.value for member in bare]}
    if bare is os.PathLike or (is_class and issubclass(bare, pathlib.PurePath)):
        return {"type": "string"}
    if full_name(hint) in ("torch.device", "torch.dtype"):
        return {"type": "string"}
    if bare is collections.abc.Callable or not hasattr(bare, "__dataclass_fields__"):
        return dict(ANY_KIND)
    return {"anyOf": [_mapping(options_of(bare)), ANY_KIND]}
