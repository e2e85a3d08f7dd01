"""Histories: what users who are recommended to have met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.grouping import group_by_user
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.readers.tabular import read_interactions
from recall_lightning.errors import InputError

Histories = str | Path | InteractionLog | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class PreparedHistories:
    """Histories looked up in a catalogue.

    Attributes:
        interactions: users in the order they came in, some perhaps without any item.
        unknown_items: interactions that were skipped.
    """

    interactions: Interactions
    unknown_items: int

    @property
    def without_history(self) -> int:
        """Users of whom no interaction is left."""
        return int((self.interactions.lengths == 0).sum())


def prepared(histories: Histories, items: Catalogue) -> PreparedHistories:
    """Look up histories in a catalogue.

    Raises:
        InputError: if a file can't be used, or there is no user.
    """
    if isinstance(histories, (str, Path)):
        histories = read_interactions(histories)
    if isinstance(histories, Mapping):
        histories = _log_of(histories)
    if not histories.user_ids:
        raise InputError("histories: there is no user. Give one or more, each with the ids of items they met")
    known = np.array([items.row(item) >= 0 for item in histories.item_ids], bool)[histories.items]
    grouped = group_by_user(histories.select(known), items.ids, ties="row", shuffle_users=False)
    return PreparedHistories(grouped, int((~known).sum()))


def _log_of(histories: Mapping[str, Sequence[str]]) -> InteractionLog:
    item_ids = list(dict.fromkeys(item for items in histories.values() for item in items))
    position = {item: i for i, item in enumerate(item_ids)}
    users = np.repeat(np.arange(len(histories)), [len(items) for items in histories.values()])
    items = np.array([position[item] for row in histories.values() for item in row], np.int64)
    return InteractionLog("histories", list(histories), item_ids, users, items)
