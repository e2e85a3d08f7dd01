"""What the libraries say in a run, so that its log is for its results."""

import logging
import re
import sys
import warnings

import transformers


def quiet_libraries() -> None:
    """Say what a user can act upon, and no more."""
    logging.getLogger("recall_lightning").setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("recall_lightning").handlers = [handler]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    chatter = re.compile("(GPU|TPU) available|Seed set to|💡 Tip|Using bfloat16|Loading `.*` to estimate")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(lambda record: not chatter.match(record.getMessage()))
    for pattern in [
        r".*does not have many workers.*",  # batches are made in a few milliseconds
        r".*args parameter is intended to run from within Python.*",
        r".*LeafSpec.*",
        r".*all_gather is deprecated.*",  # Lightning's own use of torch
        r".*Checkpoint directory .* exists.*",  # the best checkpoint of a run is replaced on purpose
        r".*is smaller than the logging interval.*",
        r".*It is recommended to use `self.log.*sync_dist.*",  # the metrics have summed over the processes
        r".*dirpath has changed from.*",  # a test writes no checkpoint
        r".*WeightAveraging callback with a model that overrides the configure_model.*",  # of sharding, which we refuse
    ]:
        warnings.filterwarnings("ignore", pattern)
