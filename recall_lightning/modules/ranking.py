"""RankingModule: validates, tests and predicts by ranking the whole catalogue."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from recall_lightning.data.batches import EvalBatch, TrainBatch
from recall_lightning.data.ragged import Ints
from recall_lightning.data.tokens import Tokens
from recall_lightning.errors import InputError
from recall_lightning.losses import RecallLoss
from recall_lightning.metrics import RankingMetrics
from recall_lightning.metrics.ranks import target_ranks
from recall_lightning.models.scoring import score_chunks
from recall_lightning.models.selection import best_columns
from recall_lightning.models.sharding import shard_layers
from recall_lightning.models.top_k import RankedItems
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.frozen_layers import encode_texts_above
from recall_lightning.modules.kept_vectors import kept_vectors, weights_digest
from recall_lightning.modules.portable import PortableModule
from recall_lightning.modules.shares import encode_in_shares


class RankingModule(PortableModule):
    """Base of the modules that recommend: what happens outside of training.

    Attributes:
        loss: whose similarity ranks items.
        val_metrics: of the whole catalogue's ranking, and
        test_metrics: the same.
        predict_k: items a user that `predict` gives.
        tokens: of the catalogue's texts.
        item_vectors: `(items, dim)` float32, as validation, test or prediction began.
        ranked: these, made ready as prediction began.
    """

    loss: RecallLoss
    val_metrics: RankingMetrics
    test_metrics: RankingMetrics
    predict_k: int
    tokens: Tokens
    item_vectors: Tensor
    ranked: RankedItems

    def configure_model(self) -> None:
        """Share the encoder's layers among the processes, where the Trainer's strategy is for that.

        Raises:
            InputError: if processes would not run the layers equally often, and so wait for each other forever.
        """
        if not self.sharded or any(isinstance(weight, DTensor) for weight in self.parameters()):
            return  # Lightning asks again in each of its stages
        if self.model.encoder.texts_at_once is not None:
            raise InputError(
                "model.encoder.texts_at_once is given, but processes that share a model's layers have to run them "
                "equally often: set it to null under ModelParallelStrategy"
            )
        if self.encoder_config.compile and self.model.encoder.trained:
            raise InputError(
                "model.encoder.compile is true, but layers that processes share are not: set it to false under "
                "ModelParallelStrategy"
            )
        assert self.device_mesh is not None
        shard_layers(self.model.encoder.model, self.device_mesh["data_parallel"])

    @torch.no_grad()
    def refresh_cache(self) -> None:
        """Encode every text of the catalogue with the present weights, unless that was done."""
        made_at = int(self.model.cache.made_at)
        if made_at == self.global_step and self.trainer.training:
            return
        if made_at >= 0 and not self.model.encoder.trained:
            return
        encoder = self.model.encoder
        with self.trainer.precision_plugin.forward_context():
            if encoder.trained or self.sharded:  # which all processes have to run, and none can read from a disk
                vectors = self._encoded()
            else:
                digest = f"{weights_digest(encoder)} {self.trainer.precision} {self.device.type}"
                vectors = kept_vectors(lambda: encoder, digest, self.tokens, self.data.cache_dir, self.device)
        self.model.cache.write(torch.arange(len(vectors), device=self.device), vectors)
        self.model.cache.made_at.fill_(self.global_step)

    def _encoded(self) -> Tensor:
        """`(items, text_dim)` float32 text vectors, of several processes each a share."""

        def encode(tokens: Tokens, lengths: Ints) -> Tensor:
            return encode_texts(self.model.encoder, tokens, self.device, lengths=lengths)

        if self.trainer.world_size == 1:
            if self.model.lower is not None:
                return encode_texts_above(self.model.encoder, self.model.lower, self.tokens, self.device)
            return encode_texts(self.model.encoder, self.tokens, self.device)
        return encode_in_shares(encode, self.tokens, self.global_rank, self.trainer.world_size, self._gathered)

    def _gathered(self, tensor: Tensor, *, gradient: bool = False) -> Tensor:
        """`(processes, ...)`: what all processes have in the place of a tensor, of one shape."""
        gathered = self.all_gather(tensor, sync_grads=gradient and tensor.requires_grad)
        assert isinstance(gathered, Tensor)
        return gathered

    def on_validation_epoch_start(self) -> None:
        self.refresh_cache()
        self.item_vectors = self.model.catalogue_vectors()
        self.threshold.begin()

    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()

    def on_predict_epoch_start(self) -> None:
        self.on_validation_epoch_start()
        self.ranked = RankedItems(self.item_vectors, self.loss.similarity)

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        self._rank(self.user_vectors(batch), batch, self.val_metrics)

    def test_step(self, batch: EvalBatch, batch_idx: int) -> dict[str, Tensor]:
        """For callbacks: the targets' `ranks` `(batch, relevant)`, and `lists` of the best items `(batch, ks[0])`."""
        longest = min(self.hparams["ks"][0], len(self.item_vectors))
        return self._rank(self.user_vectors(batch), batch, self.test_metrics, list_length=longest)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", self.val_metrics)
        if not self.trainer.sanity_checking:  # of an untrained model's few users
            self.log_dict({f"val/{name}": value for name, value in self.threshold.choose().items()})

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test", self.test_metrics)
        self.log_dict({f"test/{name}": value for name, value in self.threshold.report().items()})

    def predict_step(self, batch: EvalBatch, batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """The users `(batch,)`, and the rows and scores of their best items, each `(batch, predict_k)`."""
        users = self.user_vectors(batch)
        added = self.added(users, batch)
        scores, rows = self.ranked.top_k(users, self.predict_k, added=added, known=batch.known)
        return batch.users, rows, scores

    def user_vectors(self, batch: EvalBatch) -> Tensor:
        """`(batch, dim)` float32: the users of a batch, by the current `item_vectors`."""
        return self._user_vectors(self.item_vectors, batch.history, batch)[:, -1].float()

    def added(self, users: Tensor, batch: EvalBatch) -> Callable[[slice], Tensor] | None:
        """What `score_chunks` is to add to the scores of a batch's `user_vectors`; None for nothing."""
        return self.model.bonus(users, batch.history)

    def _rank(
        self, users: Tensor, batch: EvalBatch, metrics: RankingMetrics, *, list_length: int = 0
    ) -> dict[str, Tensor]:
        ranks, lists = [], []
        for scores, targets in self._scores(users, batch):
            ranks.append(target_ranks(scores, targets))
            metrics.update_ranks(ranks[-1])
            self.threshold.update(scores, targets)
            if list_length:
                best, rows = best_columns(scores, list_length)
                lists.append(rows.masked_fill(best == -torch.inf, -1))
        return {"ranks": torch.cat(ranks)} | ({"lists": torch.cat(lists)} if lists else {})

    def _scores(self, users: Tensor, batch: EvalBatch) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores `(some users, items)` and targets of a few users at a time."""
        added, similarity = self.added(users, batch), self.loss.similarity
        for chunk, scores in score_chunks(users, self.item_vectors, similarity, added=added, known=batch.known):
            yield scores, batch.targets[chunk]

    def _log_metrics(self, stage: str, metrics: RankingMetrics) -> None:
        bar = f"recall@{self.hparams['ks'][0]}"
        for name, value in metrics.compute().items():  # the same on every process: the metric has summed over them
            self.log(f"{stage}/{name}", value, prog_bar=name == bar)
        metrics.reset()

    def _user_vectors(self, items: Tensor, history: Tensor, batch: TrainBatch | EvalBatch) -> Tensor:
        """`(batch, positions, dim)` float: one position where the tower reads text, else every one."""
        if self.model.user_tower.reads_text:
            assert batch.history_tokens is not None
            return self.model.users_of_texts(batch.history_tokens.ids, batch.history_tokens.mask)
        return self.model.users(items, history)
