"""new_items: items held out whole, to be recalled by their text alone."""

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.splits.base import Cases, Split, count_per_user, drawn, regrouped, stacked
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
    train = interactions.select(known[interactions.items])
    notes = [f"{int(validation.sum())} items held out for validation and {int(test.sum())} for the test"]
    if left_out:
        notes.append(f"{left_out} case(s) left out: the user took nothing that training knows before the new item")
    return Split(train, to_validate, to_test, held_items=~known, notes=tuple(notes))


def _cases(interactions: Interactions, known: NDArray[np.bool_], new: NDArray[np.bool_]) -> tuple[Cases, int]:
    """Cases of one part, and how many users have no history before their target."""
    rows = np.flatnonzero(new[interactions.items])
    users, back = np.unique(interactions.users[rows][::-1], return_index=True)  # the last row of each user
    target = rows[::-1][back]
    trained = known[interactions.items]
    total = np.concatenate([[0], np.cumsum(trained)])
    n_history = total[target] - total[interactions.offsets[users]]  # trained-on rows before the target
    asked = np.zeros(len(interactions), bool)
    asked[target] = True
    every = np.ones(len(interactions), bool)
    made = regrouped(interactions, every, np.where(asked, 2, np.where(trained, 0, 1)))
    n_others = count_per_user(interactions, ~asked)[users]
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
