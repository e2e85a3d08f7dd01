"""Interactions typed in a test or drawn by hypothesis, and splits as a person reads them."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from recall_lightning.data.grouping import group_by_user
from recall_lightning.data.interaction_log import InteractionLog

ITEMS = ["alien", "brazil", "dune", "fargo", "heat", "tron"]
USERS = ["ann", "bob", "cid", "dee", "eve", "fay", "gus", "hal"]


class Case(NamedTuple):
    """A case; each part is a list of (item, time), oldest first."""

    history: list
    targets: list
    known: list


def rows_of(text):
    """`"ann heat 1, bob alien 2"`: user, item, time."""
    return [(user, item, int(time)) for user, item, time in (row.split() for row in text.split(","))]


def typed(text):
    return interactions_of(rows_of(text))


def interactions_of(rows, *, ties="row", timed=True, ids=ITEMS):
    """Rows are (user, item, time)."""
    user_ids = list(dict.fromkeys(user for user, _, _ in rows))
    log = InteractionLog(
        "ratings.csv", user_ids, list(ids), np.array([user_ids.index(user) for user, _, _ in rows], np.int64),
        np.array([ids.index(item) for _, item, _ in rows], np.int64),
        np.array([time for _, _, time in rows]) if timed else None,
    )  # fmt: skip
    return group_by_user(log, ids, ties=ties)


def in_order(rows):
    """{user: [(item, time), ...]}, oldest first; a tie keeps the order of the rows."""
    return {
        user: sorted([(item, time) for u, item, time in rows if u == user], key=lambda row: row[1])
        for user in dict.fromkeys(user for user, _, _ in rows)
    }


def triples(part):
    """The set of (user, item, time) of interactions."""
    return {(part.user_ids[u], ITEMS[i], t) for u, i, t in zip(part.users, part.items, part.times, strict=True)}


def pairs(part):
    """The set of (user, item) of interactions."""
    return {(part.user_ids[u], ITEMS[i]) for u, i in zip(part.users, part.items, strict=True)}


def read(cases):
    """{user: Case}."""
    made = cases.interactions
    times = made.times if made.times is not None else np.zeros(len(made), np.int64)

    def part(span):
        return [(ITEMS[i], int(t)) for i, t in zip(made.items[slice(*span)], times[slice(*span)], strict=True)]

    found = {
        made.user_ids[user]: Case(part(history), part(targets), part(known))
        for user, history, targets, known in zip(cases.users, cases.history, cases.targets, cases.known, strict=True)
    }
    assert len(found) == len(cases), "a user has one case"
    return found


def asked(cases):
    """{user: (history, targets)}, items alone."""
    return {user: (names(case.history), names(case.targets)) for user, case in read(cases).items()}


def known(cases):
    """{user: items that are no candidates}."""
    return {user: names(case.known) for user, case in read(cases).items()}


def names(rows):
    return [item for item, _ in rows]


def targets(*parts):
    """Every (user, item, time) that is asked for, a list: one asked for twice stands there twice."""
    return [(u, item, time) for cases in parts for u, case in read(cases).items() for item, time in case.targets]


def all_of(split):
    """Everything of a split that can be compared: of training, and of each part's cases."""
    parts = {"validation": split.validation, "test": split.test, **split.apart}
    held = None if split.held_items is None else split.held_items.tolist()
    return triples(split.train), {name: read(cases) for name, cases in parts.items()}, held


def assert_sound(cases, rows):
    """What holds of the cases of every split: nothing is made up, no candidate's answer is given away."""
    there = {(user, item, time) for user, item, time in rows}
    for user, case in read(cases).items():
        for item, time in [*case.history, *case.targets, *case.known]:
            assert (user, item, time) in there
        assert Counter(case.history) <= Counter(case.known)
        assert not set(names(case.known)) & set(names(case.targets))
        assert len(case.targets) >= 1
        times = [time for _, time in case.history]
        assert times == sorted(times)


@st.composite
def tables(draw, *, tied):
    """Rows (user, item, time) in any order: each user has up to six items, all at different times or many tied."""
    histories = st.lists(st.sampled_from(ITEMS), unique=True, max_size=len(ITEMS))
    met = [(user, item) for user in USERS for item in draw(histories)]
    assume(met)
    times = (
        st.lists(st.integers(0, 4), min_size=len(met), max_size=len(met)) if tied else st.permutations(range(len(met)))
    )
    rows = [(user, item, time) for (user, item), time in zip(met, draw(times), strict=True)]
    return draw(st.permutations(rows))


DISTINCT, TIED = tables(tied=False), tables(tied=True)
ANY = DISTINCT | TIED
