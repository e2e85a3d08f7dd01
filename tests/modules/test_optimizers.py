"""The course of the learning rates."""

import math

import pytest
from torch import nn

from recall_lightning.modules.optimizers import OptimizerConfig, ParameterGroup, configure


def course(n_steps, steps, **changes):
    """The rate at each step, beside the full one."""
    config = OptimizerConfig(**({"warmup": 0.2} | changes))
    group = ParameterGroup("all", 0.5, [nn.Parameter(nn.Linear(2, 2).weight.data)])
    made = configure(config, [group], n_steps=n_steps, fused=False)
    rates = []
    for _ in range(steps):
        rates.append(made["optimizer"].param_groups[0]["lr"] / 0.5)
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return rates


def test_rates_rise_over_the_warm_up_and_fall_in_a_line_to_zero():
    assert course(10, 11) == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])


def test_without_decay_they_stay():
    assert course(10, 4, decay="none") == pytest.approx([1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize("decay", ["linear", "none"])
def test_where_the_steps_have_no_end_the_rates_stay_as_they_are(decay):
    assert course(math.inf, 3, decay=decay) == [1, 1, 1]
