"""The softmax loss of many vectors against many candidates, a block of vectors at a time.

As plain operations the logits, their exponentials and their gradients would each fill `positions x candidates` memory,
and the time would go into moving them. Here the forward pass takes a block that fits the processor's cache, makes its
loss and its gradient, and forgets it (as Cut Cross-Entropy does on a GPU, Wijmans et al., ICLR 2025): memory doesn't
grow with the positions, and no pass over the logits leaves the cache.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recall_lightning.models.transitions import Bonus

LOGITS_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}  # 4 MiB, 256 MiB of float32
VECTORS_AT_ONCE = {
    "cpu": 256
}  # at least, up to 16 times as many logits: for fewer, passing all candidates takes longer


def softmax_loss(
    left: Tensor,
    right: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    bonus: Bonus | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Sum of `log(sum_c exp(z_c) + exp(z_target)) - z_target`, with `z = left @ right.T + bonus`, c the negatives.

    With label smoothing `smoothing (z_target - mean_k z_k)` more, k the negatives and the vector's own targets
    (Szegedy et al., CVPR 2016).

    It can be differentiated once: its gradient is made in the forward pass. Under autocast to bfloat16 the gradient's
    two matrix products take its inputs in bfloat16; logits never are.

    Args:
        left: `(batch, positions, width)` float.
        right: `(candidates, width)` float.
        targets: `(batch, positions, relevant)` int64 rows of `right`, -1 where there is none; those of one vector are
            no negatives of each other.
        known: `(batch, candidates)` bool, True for what is no negative of any vector of a row; None for none.
        bonus: what is added to the logits; None for nothing. Its weights get gradient, its lifts don't.
        smoothing: share of a target's label that is spread over the candidates that are not known.

    Returns:
        A scalar, of the type of `left`; 0 without targets.
    """
    half = torch.is_autocast_enabled(left.device.type) and left.dtype == torch.float32
    with torch.autocast(left.device.type, enabled=False):
        weights, lifts = (None, ()) if bonus is None else (bonus.weights.to(left.dtype), bonus.lifts)
        product_type = torch.bfloat16 if half else left.dtype
        loss: Tensor = _SoftmaxLoss.apply(left, right, weights, targets, known, lifts, product_type, smoothing)
        return loss


class _SoftmaxLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        weights: Tensor | None,
        targets: Tensor,
        known: Tensor | None,
        lifts: Sequence[Callable[[Tensor], Tensor]],
        product_type: torch.dtype,
        smoothing: float,
    ) -> Tensor:
        n_positions, width = left.shape[1:]
        vectors, rows = left.reshape(-1, width), targets.reshape(-1, targets.shape[-1])
        asked = torch.arange(len(vectors), device=left.device)
        if left.device.type == "cpu":  # elsewhere their number would have to be waited for
            asked = asked[(rows >= 0).any(-1)]
        wanted = any(ctx.needs_input_grad[:3])
        total = vectors.new_zeros(())
        of_left, of_right = torch.zeros_like(vectors), torch.zeros_like(right)
        by_position = None if weights is None else weights.flatten(0, 1)  # (vectors, parts)
        of_weights = None if by_position is None else torch.zeros_like(by_position)
        products = right.to(product_type)
        kind, n_candidates = left.device.type, max(1, len(right))
        at_once = LOGITS_AT_ONCE.get(kind, 2**26)
        step = max(1, at_once // n_candidates, min(VECTORS_AT_ONCE.get(kind, 1), 16 * at_once // n_candidates))
        for block in torch.split(asked, step):
            own = vectors[block]
            negatives = None if known is None else known[block // n_positions]
            logits = own @ right.T
            lifted = [lift(block) for lift in lifts]
            for part, made in enumerate(lifted):
                assert by_position is not None
                logits.addcmul_(by_position[block, part, None], made)
            losses, logits = _block(logits, rows[block], negatives, smoothing, gradient=wanted)
            total += losses
            if wanted:
                slope = logits.to(product_type)
                of_left[block] = (slope @ products).to(left.dtype)
                of_right += slope.T @ own.to(product_type)
                for part, made in enumerate(lifted):
                    assert of_weights is not None
                    of_weights[block, part] = torch.linalg.vecdot(logits, made)
        ctx.save_for_backward(
            of_left.view_as(left),
            of_right,
            None if of_weights is None else of_weights.view(*left.shape[:2], of_weights.shape[-1]),
        )
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("this loss can be differentiated once (no create_graph): give nll each=True for more")
        of_left, of_right, of_weights = ctx.saved_tensors
        weighted = None if of_weights is None else gradient * of_weights
        return gradient * of_left, gradient * of_right, weighted, None, None, None, None, None


def _block(
    logits: Tensor, targets: Tensor, known: Tensor | None, smoothing: float, *, gradient: bool
) -> tuple[Tensor, Tensor]:
    """The loss of a block of logits `(vectors, candidates)`, and its gradient in them, written in their place."""
    present = targets >= 0
    row = torch.where(present, targets, targets.amax(-1, keepdim=True)).clamp(min=0)
    positive = logits.gather(-1, row)
    label = spread(logits, row, known) if smoothing else None
    mean = positive if label is None else (logits * label).sum(-1, keepdim=True)
    if known is not None:
        logits.masked_fill_(known, -torch.inf)
    logits.scatter_(-1, row, -torch.inf)
    top = logits.amax(-1, keepdim=True).clamp_(min=torch.finfo(logits.dtype).min)  # -inf, if there is no negative
    shares = logits.sub_(top).exp_()
    rest = shares.sum(-1, keepdim=True)
    total = torch.logaddexp(rest.log() + top, positive)
    losses = torch.where(present, total - positive + smoothing * (positive - mean), 0.0).sum()
    if gradient:
        missed = torch.where(present, -torch.expm1(positive - total), 0.0)  # 1 - the chance that each target gets
        shares.mul_(missed.sum(-1, keepdim=True) / rest.clamp(min=torch.finfo(rest.dtype).tiny))
        shares.scatter_add_(-1, row, smoothing * present - missed)
        if label is not None:
            shares.addcmul_(present.sum(-1, keepdim=True).to(label.dtype), label, value=-smoothing)
    return losses, shares


def spread(logits: Tensor, row: Tensor, known: Tensor | None) -> Tensor:
    """What each candidate gets of a label that is smoothed: alike for own targets `row` and all that aren't known."""
    if known is None:
        return torch.full_like(logits, 1 / logits.shape[-1])
    able = (~known).to(logits.dtype).scatter_(-1, row, 1.0)
    return able / able.sum(-1, keepdim=True)
