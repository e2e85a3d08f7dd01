"""TestReport: what the test's lists are like, and whose recall hides in the mean."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from recall_lightning.data.batches import EvalBatch
from recall_lightning.metrics import BeyondAccuracy, ByGroup, RankingMetrics, history_groups
from recall_lightning.modules.recall import RecallModule


class TestReport(Callback):
    """Logs coverage, Gini index, popularity lift, novelty and diversity of the lists, and recall by length of history.

    At the first of `model.ks`; diversity is by the model's own item vectors.
    """

    __test__ = False  # pytest would take it for a test, by its name

    def on_test_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.ready = False

    def on_test_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: EvalBatch, *_: Any
    ) -> None:
        if outputs is None:  # of a module that reports in its own way
            return
        self._prepare(module)
        self.lists.update(outputs["lists"], batch.history)
        self.recall.update_ranks(outputs["ranks"], self.group_of[batch.users.cpu()].to(module.device))

    def on_test_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not self.ready:
            return
        told: dict[str, Tensor] = self.lists.compute() | self.recall.compute()
        shown = {name: value.float() for name, value in told.items() if name.startswith(_SHOWN)}
        module.log_dict({f"test/{name}": value for name, value in shown.items()})

    def _prepare(self, module: L.LightningModule) -> None:
        """Make the metrics, once the module has its item vectors: its own hooks come after those of callbacks."""
        assert isinstance(module, RecallModule)
        if self.ready:
            return
        data, k = module.data, module.hparams["ks"][0]
        vectors = module.model.without_prior(module.item_vectors)
        n_trained = int((data.split.train.lengths > 0).sum())
        self.lists = BeyondAccuracy(k, torch.from_numpy(data.counts), n_trained, vectors.cpu())
        cases = data.split.test
        labels, names = history_groups(torch.from_numpy(cases.history_lengths))
        self.group_of = torch.full((cases.interactions.n_users,), -1)
        self.group_of[torch.from_numpy(cases.users)] = labels
        self.recall = ByGroup(lambda: RankingMetrics([k]), [f"history {name}" for name in names])
        for metric in (self.lists, self.recall):
            metric.to(module.device)
        self.ready = True


_SHOWN = ("coverage", "gini", "popularity_lift", "novelty", "diversity", "recall", "n_users")
