"""The file `callbacks/__init__.py`: all built-in callbacks by name."""

from __future__ import annotations

from trackside.config.builtin_callbacks import builtin_callbacks

_HEAD = '''"""The callbacks that come with Trackside, one file each, in folders by purpose.

`from trackside.callbacks import EarlyStopping` imports the file of that callback and no other.

Written by `make index` from the files in these folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
'''


def index() -> str:
    """The text of `callbacks/__init__.py`. Imports no callback."""
    found = sorted(builtin_callbacks().values(), key=lambda one: one.reference)
    imports, homes = "", ""
    for one in found:
        home = f"{one.purpose}.{one.name}"
        line = f"    from trackside.callbacks.{home} import "
        aliased = f"{line}{one.class_name} as {one.class_name}\n"
        if len(aliased) > 101:
            aliased = f"{line}(\n        {one.class_name} as {one.class_name},\n    )\n"
        imports += aliased
        homes += f'            "{home}": ("{one.class_name}",),\n'
    public = sorted((one.class_name for one in found), key=lambda name: (not name.isupper(), name))
    names = "".join(f'    "{name}",\n' for name in public)
    lookup = f"lazily(\n        __name__,\n        {{\n{homes}        }},\n    )\n"
    lookup = f"    __getattr__, __dir__ = {lookup}"
    return f"{_HEAD}{imports}else:\n{lookup}\n__all__ = [\n{names}]\n"
