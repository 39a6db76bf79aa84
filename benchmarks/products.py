"""Rates and errors of a model's matrix products on this processor: float32 by MKL and by oneDNN, and bfloat16.

    OMP_NUM_THREADS=1 python benchmarks/products.py [--shapes 512,640,2048 ...]

torch gives float32 products to MKL. After ``torch.backends.mkldnn.matmul.fp32_precision = "bf16"`` they go to oneDNN,
which has float32 kernels of its own and takes these where the processor has no matrix units (AMX); where it has, the
products are in bfloat16, and the error says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear


def rate(function: Callable[[], Tensor], operations: int) -> float:
    """The best of seven, in GFLOP/s of processor time."""
    times = []
    for _ in range(8):
        begun = time.process_time()
        function()
        times.append(time.process_time() - begun)
    return operations / min(times[1:]) / 1e9


def main() -> None:
    """One line per shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["512,640,1024", "512,640,2048", "512,2048,640"])
    options = parser.parse_args()
    torch.manual_seed(0)
    for shape in options.shapes:
        rows, width, out = map(int, shape.split(","))
        x, weight = torch.randn(rows, width), torch.randn(out, width)
        exact = linear(x.double(), weight.double())
        cells = []
        for name, precision, dtype in (
            ("MKL", "ieee", torch.float32),
            ("oneDNN", "bf16", torch.float32),
            ("bfloat16", "ieee", torch.bfloat16),
        ):
            torch.backends.mkldnn.matmul.fp32_precision = precision
            a, b = x.to(dtype), weight.to(dtype)
            error = float((linear(a, b) - exact).abs().max() / exact.abs().max())
            cells.append(f"{name} {rate(lambda a=a, b=b: linear(a, b), 2 * rows * width * out):.0f} ({error:.0e})")
        print(f"{rows} x {width} x {out}: " + ", ".join(cells))


if __name__ == "__main__":
    main()
