"""The users: what a source knows of them beside what they did."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from recall_lightning.errors import InputError


@dataclass(frozen=True)
class Users:
    """Users in the order of their file.

    Attributes:
        ids: `(users,)` the files' strings, each once.
        columns: a list of `(users,)` strings for each column; empty where a value is missing.
    """

    ids: list[str]
    columns: dict[str, list[str]]
    _rows: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._rows.update((user, row) for row, user in enumerate(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str, user_ids: Sequence[str]) -> list[str]:
        """The values of one column for some users; empty for a user who isn't known.

        Raises:
            InputError: if there is no such column.
        """
        if name not in self.columns:
            raise InputError(
                f"no column '{name}' of users: there is {', '.join(self.columns) or 'none'}. Name one of them"
            )
        values, rows = self.columns[name], self._rows
        return [values[rows[user]] if user in rows else "" for user in user_ids]
