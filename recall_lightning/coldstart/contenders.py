"""Baselines, tuned for each number of support interactions in one search a query."""

import logging
from collections.abc import Sequence
from pathlib import Path

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.cache import Cache, Result, data_fingerprint
from recall_lightning.baselines.evaluate import Rankings, rank_cases
from recall_lightning.baselines.measured import Measured
from recall_lightning.baselines.tuning import Search
from recall_lightning.coldstart.protocols import Protocol
from recall_lightning.data.datamodule import RecallDataModule

log = logging.getLogger(__name__)


def cache_of(data: RecallDataModule, group: Sequence[Protocol], folder: Path | None, *, k: int, part: str) -> Cache:
    """Where results on a query's protocols are kept, by the content of the data.

    Args:
        data: already set up.
        group: protocols of one query.
        folder: None keeps nothing.
        k: cut-off of the recall that tunes.
        part: which cases are asked about.
    """
    cases = [cases for protocol in group for cases in (protocol.validation, protocol.asked)]
    asked = f"adapt {part} recall@{k} {[protocol.splits for protocol in group]}"
    return Cache(folder, data_fingerprint(data, *cases), asked)


def run(contender: Contender, data: RecallDataModule, group: Sequence[Protocol], cache: Cache, *, k: int) -> Result:
    """Tune, fit and ask a contender, or take what the cache has of it.

    Fits are dear, so there is one search for all protocols, by the mean of their recalls; each protocol then gets the
    best on its own validation cases of the settings that were tried, refitted where they ask for it.

    Args:
        contender: not yet fitted.
        data: already set up.
        group: protocols of one query.
        cache: as of `cache_of`.
        k: cut-off of the recall.

    Returns:
        Rankings and settings, by the number of support interactions as a string.

    Raises:
        UnavailableError: if it can't take part.
    """
    kept = cache.read(contender)
    query = group[0].query
    if kept is not None:
        log.info("%s, %s: from the cache", contender.name, query)
        return kept
    rankings: dict[str, Rankings] = {}
    with Measured() as measured:
        search = Search(contender, data, [(protocol.splits, protocol.validation) for protocol in group], k=k)
        try:
            recall = search.recall(search.best())
            chosen = {protocol.support: search.best_on(place) for place, protocol in enumerate(group)}
            # one after the other of those that share a fit
            for protocol in sorted(group, key=lambda protocol: search.learned_by(chosen[protocol.support])):
                search.fit(chosen[protocol.support])
                rankings[str(protocol.support)] = rank_cases(contender, protocol.asked, data, lists=False)
        except ValueError as error:  # of `target_ranks`: scores that are NaN
            raise UnavailableError(str(error)) from error
    settings = {str(support): of_support for support, of_support in chosen.items()}
    result = Result(rankings, settings, recall, search.last_fit.seconds, measured.seconds, search.last_fit.memory)
    cache.write(contender, result)
    log.info("%s, %s: validation recall@%d %.4f, %.0f s", contender.name, query, k, recall, measured.seconds)
    return result
