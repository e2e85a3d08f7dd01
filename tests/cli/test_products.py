"""Products of float32 stay exact, whichever way a processor makes them."""

import pytest
import torch

from recall_lightning.cli import products


@pytest.fixture(autouse=True)
def as_before():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_products_are_exact_on_this_machine():
    products.fast_products()
    assert products.error_of_products() < products.EXACT


@pytest.mark.parametrize(("error", "chosen"), [(1e-7, "medium"), (4e-3, "highest"), (float("nan"), "highest")])
def test_the_faster_way_is_taken_only_where_it_costs_no_digits(monkeypatch, error, chosen):
    monkeypatch.setattr(products, "error_of_products", lambda: error)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    products.fast_products()
    assert torch.get_float32_matmul_precision() == chosen


def test_a_gpu_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch.set_float32_matmul_precision("high")
    products.fast_products()
    assert torch.get_float32_matmul_precision() == "high"


def test_the_error_is_that_of_a_product_that_was_made_with_less_digits(monkeypatch):
    exact = torch.Tensor.__matmul__

    def rough(left, right):
        if left.dtype == torch.float64:
            return exact(left, right)
        return exact(left.bfloat16().float(), right.bfloat16().float())

    monkeypatch.setattr(torch.Tensor, "__matmul__", rough)
    assert products.error_of_products() > 1e-4
