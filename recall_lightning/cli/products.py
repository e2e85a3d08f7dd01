"""Matrix products on a CPU: the fastest kind that is still exact."""

import torch

EXACT = 1e-5  # relative error of a product of float32


def fast_products() -> None:
    """Have a CPU's float32 products made by oneDNN, which is faster, where that costs no digits.

    On processors with AMX oneDNN takes bfloat16 instead, of 8 significant bits: scores would be full of ties. Whether
    it does is found out by a product.
    """
    if torch.cuda.is_available():  # there it would cost digits in any case
        return
    torch.set_float32_matmul_precision("medium")
    if not error_of_products() < EXACT:
        torch.set_float32_matmul_precision("highest")


def error_of_products() -> float:
    """The largest error of a float32 product on this machine, with its settings, beside the product's largest entry."""
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(128, 128, generator=draw), torch.randn(128, 1024, generator=draw)
    exact = left.double() @ right.double()
    return float(((left @ right) - exact).abs().max() / exact.abs().max())
