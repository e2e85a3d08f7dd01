"""The cold-start experiment: every model asked by every protocol."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.trained import Trained
from recall_lightning.coldstart import contenders, fused
from recall_lightning.coldstart.answers import (
    ADAPTED,
    ADAPTED_FUSED,
    BASE,
    BASE_FUSED,
    CONTROL,
    START,
    Answer,
    Asked,
    Role,
)  # fmt: skip
from recall_lightning.coldstart.learner import Learner
from recall_lightning.coldstart.protocols import Protocol
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.metrics.ranking import recall_at_k

log = logging.getLogger(__name__)

RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # step sizes that the control may take


@dataclass(frozen=True)
class Settings:
    """How much freedom the experiment leaves.

    Attributes:
        part: which cases are asked about, for the cache.
        steps: of the inner loop.
        k: cut-off of the recall that tunes.
        cache: folder of baselines' results; None keeps nothing.
    """

    part: str
    steps: int
    k: int
    cache: Path | None


@dataclass(frozen=True)
class Fusion:
    """What is fused with what.

    Attributes:
        channels: baselines, of which each number of support interactions gets the one that validation says.
        meta: the meta-trained model.
        base: the model that it started from; None if it isn't at hand.
    """

    channels: Sequence[Contender]
    meta: Trained
    base: Trained | None


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        asked: the answers, by protocol.
        rates: the control's recall on validation by step size, for each query.
        settings: settings of baselines and of what is fused with them, by query, model and number of support
            interactions.
        left_out: baselines, and what is fused with them, that can't take part, and why.
    """

    asked: list[Asked] = field(default_factory=list)
    rates: dict[str, dict[float, float]] = field(default_factory=dict)
    settings: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def rate(self, query: str) -> float:
        """The control's step size: the first of the best on validation."""
        recalls = self.rates[query]
        return max(recalls, key=lambda rate: recalls[rate])


def run(
    data: RecallDataModule,
    protocols: Sequence[Protocol],
    baselines: Iterable[Contender],
    meta: Learner,
    control: Learner | None,
    settings: Settings,
    fusion: Fusion | None = None,
) -> Outcome:
    """Ask every model by every protocol.

    Args:
        data: already set up.
        protocols: those of a query stand together.
        baselines: not yet fitted.
        meta: the meta-trained model.
        control: the model that meta-training started from, to be fine-tuned; None if there is none.
        settings: of the experiment.
        fusion: None for none.
    """
    outcome = Outcome()
    groups = [(query, list(group)) for query, group in groupby(protocols, key=lambda protocol: protocol.query)]
    for query, group in groups:
        if control is not None:
            outcome.rates[query] = tune_rate(control, group, settings.steps, settings.k)
            control.set_rate(outcome.rate(query))
            log.info("%s, %s: step size %g by validation", CONTROL, query, outcome.rate(query))
        for protocol in group:
            outcome.asked.append(Asked(protocol, _learned(protocol, meta, control, settings.steps)))
    for contender in baselines:
        for query, group in groups:
            if contender.name not in outcome.left_out:
                _ask(contender, data, group, query, settings, outcome)
    if fusion is not None:
        for query, group in groups:
            _ask_fused(fusion, data, group, query, settings, outcome)
    for asked in outcome.asked:  # of one that dropped out half-way, nothing is told
        asked.answers[:] = [answer for answer in asked.answers if answer.model not in outcome.left_out]
    return outcome


def tune_rate(control: Learner, group: Sequence[Protocol], steps: int, k: int) -> dict[float, float]:
    """The mean over protocols of the recall on validation, after the last step, by step size."""
    found = {}
    for rate in RATES:
        control.set_rate(rate)
        try:
            ranks = [control.ranks(protocol.validation, steps, only_last=True)[0][0] for protocol in group]
        except ValueError:  # of `score_chunks`: vectors so long that their scores are NaN
            continue
        found[rate] = float(np.mean([float(recall_at_k(of_protocol, k).nanmean()) for of_protocol in ranks]))
        log.debug("%s, step size %g: %.4f", CONTROL, rate, found[rate])
    return found


def _learned(protocol: Protocol, meta: Learner, control: Learner | None, steps: int) -> list[Answer]:
    answers = []
    if control is not None:
        ranks, diverged = control.ranks(protocol.asked, steps)
        answers = [Answer(BASE, "base", None, ranks[0])]
        answers += [Answer(CONTROL, "control", step, part, diverged) for step, part in enumerate(ranks)]
    ranks, diverged = meta.ranks(protocol.asked, steps)
    answers.append(Answer(START, "start", None, ranks[0]))
    return answers + [Answer(ADAPTED, "adapted", step, part, diverged) for step, part in enumerate(ranks)]


def _ask(
    contender: Contender, data: RecallDataModule, group: list[Protocol], query: str, settings: Settings,
    outcome: Outcome,
) -> None:  # fmt: skip
    cache = contenders.cache_of(data, group, settings.cache, k=settings.k, part=settings.part)
    try:
        result = contenders.run(contender, data, group, cache, k=settings.k)
    except UnavailableError as why:
        outcome.left_out[contender.name] = str(why)
        return
    outcome.settings[query, contender.name] = result.settings
    for asked in outcome.asked:
        if asked.protocol.query == query:
            ranks = result.rankings[str(asked.protocol.support)].ranks
            at = sum(answer.role == "baseline" for answer in asked.answers)  # before those that learned
            asked.answers.insert(at, Answer(contender.name, "baseline", None, ranks))


def _ask_fused(
    fusion: Fusion, data: RecallDataModule, group: list[Protocol], query: str, settings: Settings, outcome: Outcome
) -> None:
    cache = contenders.cache_of(data, group, settings.cache, k=settings.k, part=settings.part)
    every: list[tuple[str, Role, Trained | None]] = [
        (BASE_FUSED, "base fused", fusion.base), (ADAPTED_FUSED, "adapted fused", fusion.meta)
    ]  # fmt: skip
    both = [(name, role, model) for name, role, model in every if model is not None and name not in outcome.left_out]
    if not both:
        return
    try:
        found, unable = fused.run([model for _, _, model in both], fusion.channels, data, group, cache, k=settings.k)
    except UnavailableError as why:
        outcome.left_out |= {name: str(why) for name, _, _ in both}
        return
    outcome.left_out |= {f"{name}, to be fused with, query {query},": why for name, why in unable.items()}
    of_query = [asked for asked in outcome.asked if asked.protocol.query == query]
    for (name, role, _), chosen in zip(both, found, strict=True):
        outcome.settings[query, name] = {
            str(protocol.support): dict(of.settings) for protocol, of in zip(group, chosen, strict=True)
        }
        for asked, of in zip(of_query, chosen, strict=True):
            asked.answers.append(Answer(name, role, None, of.rankings.ranks))
