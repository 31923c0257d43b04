"""JSON that knows whether it is whole: one canonical text, with its own digest in it.

Any change of any byte is noticed: of the content and of the digest because they no longer agree, of
the layout because the text is no longer the canonical one.
"""

from __future__ import annotations

import json
from typing import Any

from trackside.checkpoint.files import digest_of_bytes

_DIGEST = "digest"


def seal(content: dict[str, Any]) -> bytes:
    """The canonical text of `content`, with its digest as the last entry."""
    return sealed(content)[0]


def sealed(content: dict[str, Any]) -> tuple[bytes, str]:
    """The canonical text of `content` with its digest as the last entry, and that digest."""
    text = _text(content)
    digest = digest_of_bytes(text)
    # The entry is put in by hand: JSON with indents is made in Python, which takes long.
    before = text.removesuffix(b"\n}\n") + b"," if content else b"{"
    return before + f'\n "{_DIGEST}": "{digest}"\n}}\n'.encode("ascii"), digest


def unseal(data: bytes) -> tuple[dict[str, Any], str]:
    """The content of a sealed text, and its digest. Raises `ValueError` for any other text."""
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or not isinstance(content.get(_DIGEST), str):
            raise ValueError("it has no digest of itself")
        digest = content.pop(_DIGEST)
        if seal(content) != data:
            raise ValueError("its content doesn't match its digest")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    return content, digest


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii")
