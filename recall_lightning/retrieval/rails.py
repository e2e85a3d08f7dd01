"""Rails: what may be recommended, how often, and how unlike one another."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.errors import InputError
from recall_lightning.retrieval.attributes import Attributes
from recall_lightning.retrieval.selecting import POOL, Diversity, Quotas, can_go_on, select

Ranked = Callable[[int], tuple[Tensor, Tensor]]
Rescored = Callable[[slice, Tensor], Tensor]


@dataclass(frozen=True)
class Rails:
    """Guard rails and filters as asked for; each is off by default.

    Attributes:
        blocked: ids of items that nobody is recommended.
        patterns: regular expressions of Python; an item whose text one is found in is recommended to nobody.
        where: by column of the attributes, the values of which an item must have one.
        quotas: by column of the attributes, how many items of one value a list may hold, 1 or more; an item of several
            values counts for each of them, one without any for none. A list may end before k by it.
        mmr: lambda of `Diversity`, 0 to 1; None for no diversity.
        popularity_penalty: p in `score - p t log(1 + n)`, n the item's training interactions and t the temperature
            that the model's scores were trained at. At 1, the probability that a softmax makes of the score is divided
            by 1 + n; at 0 nothing happens.
        attributes: whose columns `where` and `quotas` name.

    Raises:
        InputError: if a value is out of its range, or a pattern is no regular expression.
    """

    blocked: Sequence[str] = ()
    patterns: Sequence[str] = ()
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    quotas: Mapping[str, int] = field(default_factory=dict)
    mmr: float | None = None
    popularity_penalty: float = 0.0
    attributes: Attributes | None = None

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(
                    f"block text: {pattern!r} is no regular expression ({error}). Mend or escape it"
                ) from error
        for name, most in self.quotas.items():
            if most < 1:
                raise InputError(
                    f"quota: {name}={most}, but a list without the value is a filter's matter: give 1 or more"
                )
        if self.mmr is not None and not 0 <= self.mmr <= 1:
            raise InputError(
                f"mmr is {self.mmr}: give a weight of the score from 0 (diversity alone) to 1 (score alone)"
            )
        if not 0 <= self.popularity_penalty < math.inf:
            raise InputError(f"popularity penalty is {self.popularity_penalty}: give 0 (none) or more, such as 0.3")
        if (self.where or self.quotas) and self.attributes is None:
            name = next(iter([*self.where, *self.quotas]))
            raise InputError(f"'{name}': there is no table to look it up in. Give one with item_id and this column")
        for name, values in self.where.items():
            assert self.attributes is not None
            self.attributes.check(name, values)

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def parts(self) -> dict[str, "Rails"]:
        """Each thing that is asked for by itself, by what to call it."""
        none = Rails(attributes=self.attributes)
        found = {}
        if n_blocked := len(self.blocked) + len(self.patterns):
            found[f"block list of {n_blocked}"] = replace(none, blocked=self.blocked, patterns=self.patterns)
        for name, values in self.where.items():
            found[f"only {name}={','.join(values)}"] = replace(none, where={name: values})
        for name, most in self.quotas.items():
            found[f"quota {name}={most}"] = replace(none, quotas={name: most})
        if self.mmr is not None:
            found[f"mmr {self.mmr:g}"] = replace(none, mmr=self.mmr)
        if penalty := self.popularity_penalty:
            found[f"popularity penalty {penalty:g}"] = replace(none, popularity_penalty=penalty)
        return found


class Guard:
    """Rails, looked up in a catalogue.

    Args:
        rails: what was asked for.
        items: the catalogue.
        vectors: `(items, dim)` float, how alike items are, without a prior's coordinates.
        counts: `(items,)` float training interactions.
        temperature: of the model.

    Attributes:
        allowed: `(items,)` bool, what may be recommended at all; None for everything.
        unknown: blocked ids that the catalogue lacks.

    Raises:
        InputError: if no item is left.
    """

    def __init__(self, rails: Rails, items: Catalogue, vectors: Tensor, counts: Tensor, temperature: float) -> None:
        device = vectors.device
        self.unknown = [item for item in rails.blocked if items.row(item) < 0]
        self.allowed: Tensor | None = None
        if rails.blocked or rails.patterns or rails.where:
            self.allowed = _allowed(rails, items).to(device)
            if not self.allowed.any():
                raise InputError(f"{', '.join(rails.parts)}: of {len(items)} items none is left. Ask for less")
        self._penalty = rails.popularity_penalty * temperature * counts.log1p() if rails.popularity_penalty else None
        self._quotas = _quotas(rails, items, device) if rails.quotas else None
        self._diversity = None if rails.mmr is None else Diversity.of(rails.mmr, vectors)
        self.chooses = self._quotas is not None or self._diversity is not None

    def among(self, candidates: Tensor | None) -> Tensor | None:
        """Which of some candidates `(items,)` bool may be recommended; None stands for all.

        Raises:
            InputError: if none of them may.
        """
        if candidates is None or self.allowed is None:
            return self.allowed if candidates is None else candidates
        left = candidates & self.allowed
        if not left.any():
            raise InputError(
                f"of {int(candidates.sum())} candidates the filters and block lists leave none. Ask for less"
            )
        return left

    def rescored(self, before: Rescored | None) -> Rescored | None:
        """What `top_k` is to rank by, after what it would have been ranked by else."""
        penalty = self._penalty
        if penalty is None:
            return before

        def rescored(users: slice, scores: Tensor) -> Tensor:
            return (scores if before is None else before(users, scores)) - penalty

        return rescored

    def lists(self, ranked: Ranked, k: int, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose lists out of rankings.

        Args:
            ranked: gives the rankings to a depth: scores `(users, depth)`, descending, and rows, -1 at the ends; of
                less width where there are no more items.
            k: length of a list.
            allowed: `(items,)` bool, the only ones that rankings hold, as of `among`; None for all.

        Returns:
            `(users, k)` float and int64, as of `select`; as long as the whole ranking allows.
        """
        if not self.chooses:
            return ranked(k)
        depth = max(k, POOL)
        scores, rows = ranked(depth)
        found, chosen = select(scores, rows, k, quotas=self._quotas, diversity=self._diversity)
        while self._quotas is not None and rows.shape[1] == depth:
            short = (chosen[:, -1] < 0) & (rows[:, -1] >= 0)
            short[short.clone()] = can_go_on(chosen[short], self._quotas, allowed)
            if not short.any():
                break
            depth *= 4
            scores, rows = ranked(depth)
            found[short], chosen[short] = select(
                scores[short], rows[short], k, quotas=self._quotas, diversity=self._diversity
            )
        return found, chosen


def _allowed(rails: Rails, items: Catalogue) -> Tensor:
    allowed = torch.ones(len(items), dtype=torch.bool)
    allowed[[row for item in rails.blocked if (row := items.row(item)) >= 0]] = False
    patterns = [re.compile(pattern) for pattern in rails.patterns]
    if patterns:
        allowed &= ~torch.tensor([any(pattern.search(text) for pattern in patterns) for text in items.texts])
    for name, wanted in rails.where.items():
        assert rails.attributes is not None
        values = rails.attributes.values(name, items.ids)
        allowed &= torch.tensor([not set(wanted).isdisjoint(of_item) for of_item in values])
    return allowed


def _quotas(rails: Rails, items: Catalogue, device: torch.device) -> Quotas:
    assert rails.attributes is not None
    limits: list[int] = []
    of_items: list[list[int]] = [[] for _ in items.ids]
    for name, most in rails.quotas.items():
        numbers: dict[str, int] = {}  # of this column's values, which another column may have, too
        for row, values in enumerate(rails.attributes.values(name, items.ids)):
            of_items[row] += [numbers.setdefault(value, len(limits) + len(numbers)) for value in values]
        limits += [most] * len(numbers)
    widest = max(1, *(len(row) for row in of_items)) if of_items else 1
    padded = torch.tensor([row + [-1] * (widest - len(row)) for row in of_items], device=device)
    return Quotas(padded, torch.tensor(limits or [1], device=device))
