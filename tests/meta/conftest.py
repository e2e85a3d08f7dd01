"""A small problem of adaptation, in which every weight is random: what starts at zero would hide mistakes."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from recall_lightning.losses import RecallLoss
from recall_lightning.meta import inner_loop, learn2learn
from recall_lightning.meta.fast_weights import FastWeights, Support
from recall_lightning.meta.step_sizes import Learned, StepSizes
from recall_lightning.models.similarity import Cosine, Similarity
from recall_lightning.models.user_tower import UserTower


@dataclass
class Problem:
    """Users with histories, candidates, and all that takes part in adapting.

    Attributes:
        weights: of the tower, the fast weights, the candidates and the step sizes.
        history: `(users, positions)` rows of the candidates, -1 pads at the left.
        query: `(users, relevant)` rows of the candidates.
    """

    tower: UserTower
    fast: FastWeights
    rates: StepSizes
    items: nn.Parameter
    loss: RecallLoss
    history: Tensor
    query: Tensor

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        named = {"tower": self.tower, "fast": self.fast, "rates": self.rates}
        return {f"{of}.{name}": weight for of, part in named.items() for name, weight in part.named_parameters()} | {
            "items": self.items
        }

    def support(self, history: Tensor | None = None) -> Support:
        history = self.history if history is None else history
        present = history >= 0
        vectors = self.items[history.clamp(min=0)] * present[..., None]
        return self.fast.support(self.tower, vectors, present, history)

    def support_loss(self, vectors: Tensor, targets: Tensor, which: slice) -> Tensor:
        known = torch.zeros(len(self.history), len(self.items) + 1, dtype=torch.bool)
        known = known.scatter(1, self.history.where(self.history >= 0, len(self.items)), True)[which, :-1]
        return self.loss.nll(vectors, self.items, targets, known=known, each=True)

    def adapt(self, engine, *, steps=3, second_order=True, history=None):
        return engine(
            self.fast.adapted, self.support(history), self.support_loss, self.rates, steps=steps,
            second_order=second_order,
        )  # fmt: skip

    def query_loss(self, users: list[Tensor]) -> Tensor:
        """Multi-step: the mean over all steps."""
        losses = [self.loss(vectors, self.items, self.query).nll for vectors in users]
        return torch.stack(losses).mean()

    def gradients(self, of: Tensor) -> dict[str, Tensor]:
        """Of all weights that are trained; zeros where nothing flows."""
        trained = {name: weight for name, weight in self.weights.items() if weight.requires_grad}
        found = torch.autograd.grad(of, list(trained.values()), allow_unused=True)
        return {
            name: torch.zeros_like(weight) if gradient is None else gradient
            for (name, weight), gradient in zip(trained.items(), found, strict=True)
        }


@pytest.fixture(scope="session")
def problem():
    """Makes one."""
    return _problem


def _problem(
    fast: type[FastWeights],
    tower: UserTower,
    lengths: list[int],
    *,
    dim: int = 4,
    width: int | None = None,
    n_items: int = 9,
    similarity: Similarity | None = None,
    temperature: float = 0.5,
    rate: float = 0.1,
    learned: Learned = "no",
    per_step: bool = False,
    steps: int = 3,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Problem:
    """Make one, of users with as many items in their histories as `lengths` says."""
    torch.manual_seed(seed)
    tower.shape(dim, 4)  # histories may be longer: the last lag is then shared
    weights = fast()
    weights.shape(dim, tower)
    rates = StepSizes(weights.adapted, rate=rate, learned=learned, per_step=per_step, steps=steps)
    items = nn.Parameter(torch.randn(n_items, dim, dtype=dtype))
    width = max(lengths) if width is None else width
    history = torch.full((len(lengths), width), -1)
    for user, length in enumerate(lengths):
        history[user, width - length :] = torch.randperm(n_items)[:length]
    query = torch.stack([torch.randperm(n_items)[:2] for _ in lengths])
    made = Problem(
        tower.to(dtype), weights.to(dtype), rates.to(dtype), items, RecallLoss(similarity or Cosine(), temperature),
        history, query,
    )  # fmt: skip
    with torch.no_grad():
        for name, weight in made.weights.items():
            if name.startswith("rates"):
                weight.mul_(1 + 0.5 * torch.rand_like(weight)) if learned != "no" else None
            elif name != "items":
                weight.add_(0.3 * torch.randn_like(weight))
    return made


@pytest.fixture(params=["batched", "learn2learn"])
def engine(request):
    """Each of the engines; the second where it is installed."""
    if request.param == "batched":
        return inner_loop.adapt
    pytest.importorskip("learn2learn")
    return learn2learn.adapt
