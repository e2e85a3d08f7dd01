"""Text templates: columns of an item put together to one text."""

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recall_lightning.errors import InputError

# The literal between two fields is cut in three: brackets that close the field before, what separates the two, and what
# introduces the field after (a label, an opening bracket).
_BETWEEN = re.compile(r"""(?P<close>[)\]}"'»]*)(?P<separator>[\s.,;:|/–—-]*)(?P<open>.*)""", re.DOTALL)


@dataclass(frozen=True)
class _Part:
    separator: str
    open: str
    field: str
    close: str


class Template:
    """A text with columns' names in braces, such as `"{title} ({year}). {genres}"`.

    A column without a value goes with its brackets, its label and its separator: `"Heat. Crime"`, `"Heat (1995)"`.

    Args:
        template: the text; a brace itself is written twice.

    Raises:
        InputError: if the template has no field, or can't be read.
    """

    def __init__(self, template: str) -> None:
        try:
            pieces = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
        except ValueError as error:
            raise InputError(
                f"data.text: {template!r} is no template ({error}). Write column names in braces"
            ) from error
        fields: list[tuple[str, str]] = []
        tail = ""  # a brace of the text ends a piece without a field
        for literal, name in pieces:
            tail += literal
            if name is not None:
                fields.append((tail, name))
                tail = ""
        if not fields or not all(name for _, name in fields):
            raise InputError(f"data.text: {template!r} names no column: write one in braces, such as '{{title}}'")
        self.template = template
        self._parts: list[_Part] = []
        literals = [literal for literal, _ in fields[1:]] + [tail]
        separator, opening = "", fields[0][0]
        for (_, name), literal in zip(fields, literals, strict=True):
            between = _BETWEEN.fullmatch(literal)
            assert between is not None  # every group may be empty
            self._parts.append(_Part(separator, opening, name, between["close"]))
            separator, opening = between["separator"], between["open"]
        self._tail = separator + opening

    @property
    def fields(self) -> list[str]:
        """Names of the columns it uses, in order."""
        return [part.field for part in self._parts]

    def check(self, columns: Iterable[str], source: str) -> None:
        """Raise InputError where the template names a column that `source` doesn't have."""
        columns = list(columns)
        for field in self.fields:
            if field not in columns:
                raise InputError(
                    f"{source}: no column '{field}', which data.text {self.template!r} names: it has "
                    f"{', '.join(columns)}"
                )

    def render(self, row: Mapping[str, str | None]) -> str:
        """The text of one item; empty if every column is."""
        text = ""
        for part in self._parts:
            value = (row[part.field] or "").strip()
            if value:
                text += (part.separator if text else "") + part.open + value + part.close
        return text + self._tail.rstrip() if text else ""
