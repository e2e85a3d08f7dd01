"""Sharding: several processes hold a share of the weights of an encoder's layers each."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from transformers import PreTrainedModel

from recall_lightning.models.encoder import layer_stack


def shard_layers(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Leave each process a share of every layer's weights, gathered while the layer works (FSDP2, `fully_shard`).

    Embeddings and what else there is stay whole: they are looked up outside of the layers, too.

    Args:
        model: the transformer; afterwards its layers' weights are `DTensor`s.
        mesh: the processes that share.
    """
    layers = layer_stack(model)
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    (around,) = (module for module in model.modules() if any(child is layers for child in module.children()))
    fully_shard(around, mesh=mesh)  # which then fetches the next layer while one works


def average_whole_gradients(parameters: Iterable[Tensor], n_processes: int) -> None:
    """Average the gradients of weights that all processes hold whole; those of shares are averaged on the way back."""
    for parameter in parameters:
        if parameter.grad is not None and not isinstance(parameter, DTensor):
            dist.all_reduce(parameter.grad)
            parameter.grad /= n_processes


def clip_norm(parameters: Iterable[Tensor], most: float) -> None:
    """Clip the gradient of whole weights and of shares together, to the norm that one process's would be clipped to."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    kinds = [[p for p in trained if isinstance(p, DTensor) is shared] for shared in (False, True)]
    norms = [get_total_norm([p.grad for p in kind if p.grad is not None]) for kind in kinds if kind]
    whole = torch.stack([norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms])
    for kind in kinds:
        clip_grads_with_norm_(kind, most, whole.norm())
