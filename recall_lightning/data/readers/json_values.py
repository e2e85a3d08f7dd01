"""Values of JSON as ids and texts."""

import html
from collections.abc import Iterator


def id_of(value: object) -> str | None:
    """An id as a string, `7` as `"7"`; None where it is none: empty, no string or whole number, or no valid text."""
    if type(value) is int:
        return str(value)
    if isinstance(value, str) and value and _valid(value) == value:
        return value
    return None


def text_of(value: object, between: str = ", ") -> str:
    """A value as text without HTML entities; lists, also inside of lists, are joined, each text once; else empty."""
    return between.join(dict.fromkeys(filter(None, _texts(value))))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif value is not None and not isinstance(value, dict):
        yield _valid(html.unescape(str(value)).strip())


def _valid(text: str) -> str:
    r"""The text with `?` for half a character (`"\ud83d"` is JSON, but no Unicode): it could not be written again."""
    return text.encode("utf-8", "replace").decode()
