"""`trackside schema`: a JSON Schema of configuration files, for editors."""

from __future__ import annotations


def schema() -> None:
    r"""Print a JSON Schema of configuration files, with the options of every callback.

    \b
    Editors complete and check files that begin with this line:
      # yaml-language-server: $schema=trackside.schema.json

    \b
    Example:
      trackside schema > trackside.schema.json
    """
    from trackside.config.schema import as_text, file_schema

    print(as_text(file_schema()), end="")
