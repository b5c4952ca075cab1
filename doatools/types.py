"""What every model returns and every loss compares it with.

B batch, T label frames, N slots (the most sources at once). Directions are unit vectors x, y, z.
"""

from typing import NamedTuple

from torch import Tensor


class Localization(NamedTuple):
    """A model's answer at label rate."""

    doa: Tensor  # (B, T, N, 3) unit vectors
    activity_logits: Tensor | None = None  # (B, T, N); None for a model without an activity branch
    extras: dict | None = None  # named tensors for pictures (attention maps, say); no loss or metric reads it


class Target(NamedTuple):
    """The reference; an inactive slot has doa (0, 0, 0), which each loss replaces as it needs."""

    doa: Tensor  # (B, T, N, 3)
    activity: Tensor  # (B, T, N) 1 where a source is active, else 0
