"""Joined items: under several processes a step's items are those of all of them, with gradient."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Gather = Callable[[Tensor], Tensor]  # of a tensor that is of one shape on all processes: `(processes, ...)`, in order


class BatchItems(NamedTuple):
    """The items of a batch, each once.

    Attributes:
        encoded: `(encoded,)` int64 catalogue rows of those whose texts were encoded.
        fresh: `(encoded, text_dim)` float: their text vectors.
        rest: `(rest,)` int64 catalogue rows of the others.
        log_q: `(encoded + rest,)` float32, as of `TrainBatch`.
    """

    encoded: Tensor
    fresh: Tensor
    rest: Tensor
    log_q: Tensor

    def as_none(self) -> "BatchItems":
        """The same vectors as items of no catalogue row: `joined` leaves them out, and their gradient is 0."""
        return self._replace(encoded=torch.full_like(self.encoded, -1), rest=torch.full_like(self.rest, -1))


def joined(own: BatchItems, gather: Gather) -> BatchItems:
    """The items of all processes' batches, in one order on all of them.

    An item that several have encoded counts once, by the vector of the first. Gradient flows to the process that
    encoded it, summed over all whose loss it is in.

    Args:
        own: this process's.
        gather: with gradient, such as `LightningModule.all_gather` with `sync_grads`.
    """
    device = own.encoded.device
    sizes = gather(torch.tensor([len(own.encoded), len(own.rest)], device=device))  # (processes, 2)
    n_encoded, n_rest = sizes.amax(0).tolist()
    fresh = gather(_filled(own.fresh, n_encoded, 0.0)).flatten(0, 1)
    encoded = gather(_filled(own.encoded, n_encoded, -1)).flatten()
    rest = gather(_filled(own.rest, n_rest, -1)).flatten()
    of_encoded, of_rest = own.log_q[: len(own.encoded)], own.log_q[len(own.encoded) :]
    log_q = torch.cat([
        gather(_filled(of_encoded, n_encoded, 0.0)).flatten(), gather(_filled(of_rest, n_rest, 0.0)).flatten()
    ])  # fmt: skip
    first = first_of_each(torch.cat([encoded, rest]))  # what is encoded stands before what isn't
    kept, others = first[first < len(encoded)], first[first >= len(encoded)]
    return BatchItems(encoded[kept], fresh[kept], rest[others - len(encoded)], log_q[first])


def first_of_each(rows: Tensor) -> Tensor:
    """Where each of `rows` `(n,)` int64 stands first, ascending; -1 is none of them."""
    values, place = torch.unique(rows, return_inverse=True)
    every = torch.arange(len(rows), device=rows.device)
    first = torch.full_like(values, len(rows)).scatter_reduce(0, place, every, "amin")
    return first[values >= 0].sort().values


def _filled(tensor: Tensor, length: int, value: float) -> Tensor:
    """With rows of `value` at the end, up to a length."""
    return F.pad(tensor, (*[0, 0] * (tensor.dim() - 1), 0, length - len(tensor)), value=value)
