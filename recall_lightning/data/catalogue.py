"""The catalogue: every item with its text, the rows that all item indices point at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from recall_lightning.data.template import Template
from recall_lightning.errors import InputError


@dataclass(frozen=True)
class Catalogue:
    """Items in the order of their rows.

    Attributes:
        ids: `(items,)` the files' strings, each once.
        texts: `(items,)` what the encoder reads.
        titles: `(items,)` what a person is shown.
        template: the template that made the texts, for items that come later.
    """

    ids: list[str]
    texts: list[str]
    titles: list[str]
    template: str
    _rows: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._rows.update((item, row) for row, item in enumerate(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, item_id: str) -> int:
        """The item's row, -1 for an unknown one."""
        return self._rows.get(item_id, -1)

    def select(self, rows: Sequence[int]) -> "Catalogue":
        """The items of these rows alone, in their order."""
        return Catalogue(
            [self.ids[r] for r in rows], [self.texts[r] for r in rows], [self.titles[r] for r in rows], self.template
        )

    def updated(self, items: "Catalogue") -> "Catalogue":
        """These items and others: one that is here already gets the other's text and title, new ones come behind."""
        new = [row for row, item in enumerate(items.ids) if self.row(item) < 0]
        ids, texts, titles = self.ids + [items.ids[r] for r in new], list(self.texts), list(self.titles)
        for item, text, title in zip(items.ids, items.texts, items.titles, strict=True):
            if (row := self.row(item)) >= 0:
                texts[row], titles[row] = text, title
        texts += [items.texts[r] for r in new]
        titles += [items.titles[r] for r in new]
        return Catalogue(ids, texts, titles, self.template)


def describe(
    columns: Mapping[str, Sequence[str]],
    template: str,
    source: str,
    *,
    title: str | None = None,
    line: Callable[[int], int] = lambda row: row + 2,
) -> Catalogue:
    """Make a catalogue of an items table.

    An item may stand in several rows if they give it the same text. Rows without any text are left out: an interaction
    with such an item is then reported as one with an item that has none.

    Args:
        columns: a list of strings for each column, `item_id` among them; empty strings where a value is missing.
        template: how the text is made, see `Template`.
        source: the file's name, for messages.
        title: the column that people are shown; by default `title` or `name`, or else the text.
        line: where a row of the table, counted from 0, stands in its file.

    Raises:
        InputError: if the template names a missing column, an id is empty or stands twice with different texts, or no
            item has a text.
    """
    made = Template(template)
    made.check(columns, source)
    title = title or next((name for name in ("title", "name") if name in columns), None)
    seen: dict[str, tuple[int, str]] = {}
    titles: list[str] = []
    names = made.fields
    values = [columns[name] for name in names]
    for row, (item, *fields) in enumerate(zip(columns["item_id"], *values, strict=True)):
        text = made.render(dict(zip(names, fields, strict=True)))
        if not item:
            raise InputError(f"{source}, row {line(row)}: item_id is empty. Fill it in, or take the row out")
        first, text_before = seen.get(item, (row, text))
        if text and text != text_before:
            raise InputError(
                f"{source}, row {line(row)}: item '{item}' has another text than in row {line(first)}. "
                "Keep one row an item"
            )
        if text and item not in seen:
            seen[item] = (row, text)
            titles.append(columns[title][row] if title and columns[title][row] else text)
    if not seen:
        raise InputError(f"{source}: no text for any item. Name columns with text in data.text, now {template!r}")
    return Catalogue(list(seen), [text for _, text in seen.values()], titles, template)
