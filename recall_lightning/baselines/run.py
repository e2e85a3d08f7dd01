"""A comparison: every contender tuned, fitted and asked about the same cases."""

import logging
from collections.abc import Mapping

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.cache import Cache, Result
from recall_lightning.baselines.evaluate import rank_cases
from recall_lightning.baselines.measured import Measured
from recall_lightning.baselines.tuning import tune
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.splits import Cases

log = logging.getLogger(__name__)


def cases_of(data: RecallDataModule, part: str) -> dict[str, Cases]:
    """The cases that are asked about, by name: a part's own, and for the test those that a split sets apart."""
    if part == "validation":
        return {part: data.split.validation}
    return {part: data.split.test, **data.split.apart}


def run(contender: Contender, data: RecallDataModule, cases: Mapping[str, Cases], cache: Cache) -> Result:
    """Tune, fit and ask a contender, or take what the cache has of it.

    Raises:
        UnavailableError: if it can't take part.
    """
    able = {name: part for name, part in cases.items() if part.among is None or contender.serves_new_items}
    if not able:
        raise UnavailableError("can't rank new items: it knows items by their interactions alone")
    kept = cache.read(contender)
    if kept is not None:
        log.info("%s: from the cache", contender.name)
        return kept
    with Measured() as measured:
        try:
            tuned = tune(contender, data)
            rankings = {name: rank_cases(contender, part, data) for name, part in able.items()}
        except ValueError as error:  # of `target_ranks`: scores that are NaN
            raise UnavailableError(str(error)) from error
    result = Result(rankings, contender.settings, tuned.recall, tuned.fit.seconds, measured.seconds, tuned.fit.memory)
    cache.write(contender, result)
    log.info(
        "%s: validation recall@10 %.4f, %s, %.0f s", contender.name, tuned.recall, contender.settings, measured.seconds
    )
    return result
