"""new_items: items held out whole, to be recalled by their text alone."""

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Block, Interactions
from recall_lightning.data.ragged import Ints
from recall_lightning.data.splits.base import Cases, Split, drawn, regrouped, stacked
from recall_lightning.errors import InputError


def new_items(interactions: Interactions, item_ids: list[str], *, share: float = 0.1, seed: int = 0) -> Split:
    """Hold out items whole: no interaction with them trains, and they are no negatives in training.

    A case is a user who took one of the part's items: the newest such interaction is the target, and the history is
    what they took before of items that training knows. Whatever else they took, trained on or held out, is no
    candidate: they would have been right about it. Targets are ranked in the whole catalogue, and among the part's new
    items alone (`Cases.among`).

    Args:
        interactions: all of them.
        item_ids: of the catalogue.
        share: chance of an item to be held out for the test, and again for the validation.
        seed: of the draw.

    Raises:
        InputError: if a part has no case.
    """
    validation, test = drawn(item_ids, share, seed)
    known = ~(validation | test)

    def cases(items: NDArray[np.bool_], part: str) -> tuple[Cases, int]:
        made, without_history = _cases(interactions, known, items)
        if not len(made):
            raise InputError(
                f"data.splits: no user took one of the {int(items.sum())} items held out for the {part} after another "
                "item. Raise data.splits.share"
            )
        return made, without_history

    to_validate, left_out = cases(validation, "validation")
    to_test, left_out_of_test = cases(test, "test")
    left_out += left_out_of_test
    train = interactions.taken(lambda block: np.flatnonzero(known[block.part.items]))
    notes = [f"{int(validation.sum())} items held out for validation and {int(test.sum())} for the test"]
    if left_out:
        notes.append(f"{left_out} case(s) left out: the user took nothing that training knows before the new item")
    return Split(train, to_validate, to_test, held_items=~known, notes=tuple(notes))


def _cases(interactions: Interactions, known: NDArray[np.bool_], new: NDArray[np.bool_]) -> tuple[Cases, int]:
    """Cases of one part, and how many users have no history before their target."""
    asked, n_history = np.zeros(interactions.n_users, bool), np.zeros(interactions.n_users, np.int64)

    def rank_of(block: Block) -> Ints:
        part, trained = block.part, known[block.part.items]
        rows = np.flatnonzero(new[part.items])
        users, back = np.unique(part.users[rows][::-1], return_index=True)  # the last row of each user
        target = rows[::-1][back]
        total = np.concatenate([[0], np.cumsum(trained)])
        asked[block.users][users] = True
        n_history[block.users][users] = total[target] - total[part.offsets[users]]  # trained-on rows before the target
        rank = np.where(trained, 0, 1)
        rank[target] = 2
        return rank

    made = regrouped(interactions, rank_of)
    users = np.flatnonzero(asked)
    n_history, n_others = n_history[users], made.lengths[users] - 1
    able = n_history > 0
    start = made.offsets[users]
    cases = Cases(
        made,
        users[able],
        history=stacked(start, start + n_history)[able],
        targets=stacked(start + n_others, start + n_others + 1)[able],
        known=stacked(start, start + n_others)[able],
        among=new,
    )
    return cases, int((~able).sum())
