"""What this machine can do: rates of matrix products and copies, to which times are compared."""

import torch

from benchmarks.measure import median_seconds, peak_mib

SIZE = 2048  # of square matrices
COPIED = 2**26  # float32 values: 256 MiB, more than caches hold


def measure(side):
    """``side``: '1 thread' or '2 threads' → GFLOP/s of products in float32 and bfloat16, GB/s read and written."""
    torch.set_num_threads(int(side.split()[0]))
    rates = {name: 2 * SIZE**3 / product(getattr(torch, name)) / 1e9 for name in ("float32", "bfloat16")}
    source, out = torch.ones(COPIED), torch.empty(COPIED)
    rates["copy"] = 8 * COPIED / median_seconds(lambda: out.copy_(source), turns=7)["seconds"] / 1e9
    return {"rates": rates, "peak_mib": peak_mib()}


def product(dtype):
    a, b = torch.randn(2, SIZE, SIZE).to(dtype)
    out = torch.empty_like(a)
    return median_seconds(lambda: torch.mm(a, b, out=out), turns=5)["seconds"]
