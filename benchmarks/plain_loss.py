"""Plain reference of the dMOT loss: its equations and those of Hnet, one after the other.

Tests compare its results with those of the toolkit. Unlike the toolkit's, this loss puts inactive references at
(10, 10, 10) throughout and relies on Hnet to leave them alone.

B batch, T label frames, N slots. Distances D and associations A are (B, T, N, N), rows are predictions.
"""

import torch
from torch import nn
from torch.nn import functional

from doatools.match.associations import places


class PlainLayer(nn.Module):
    """A linear map of each element, the means of its row and column, and the mean of all; with the toolkit's names."""

    def __init__(self, size_in, size_out):
        super().__init__()
        self.element = nn.Linear(size_in, size_out)
        self.line, self.whole = (nn.Linear(size_in, size_out, bias=False) for _ in range(2))

    def forward(self, x):  # (..., N, N, C)
        row, column = x.mean(-2, keepdim=True).expand_as(x), x.mean(-3, keepdim=True).expand_as(x)
        whole = x.mean((-2, -3), keepdim=True).expand_as(x)
        return self.element(x) + self.line(row) + self.line(column) + self.whole(whole)


class PlainHnet(nn.Module):
    def __init__(self, slots=2, channels=64, layers=4):
        super().__init__()
        self.register_buffer("places", places(slots))
        self.first = PlainLayer(4, channels)
        self.layers = nn.ModuleList(PlainLayer(channels, channels) for _ in range(layers - 1))
        self.last = nn.Linear(channels, 1)

    def forward(self, distance):
        x = torch.stack([distance.clamp(max=4), (distance - 3).clamp(0, 1), torch.exp(-distance / 0.02),
                         self.places.expand_as(distance)], -1)
        x = functional.silu(self.first(x))
        for layer in self.layers:
            x = x + functional.silu(layer(x))
        return self.last(x).squeeze(-1)


def plain_dmot(hnet, doa, logits, target):
    """Task 1's loss: dMOTp + dMOTa + 10·activity, with w_p = 50 and w_i = 1."""
    references = torch.where(target.activity[..., None] > 0, target.doa, 10.0)
    distance = torch.linalg.vector_norm(doa[..., :, None, :] - references[..., None, :, :], dim=-1)
    association = torch.sigmoid(hnet(distance))
    association = association * (association > 0.5)
    mass = association.sum((-1, -2))  # (B, T)
    dmotp = 50 * ((distance * association).sum((-1, -2)) * mass).sum() / mass.sum()
    found, there = association.amax(-1).sum(-1), target.activity.sum(-1)  # (B, T): M_t, N_t
    errors = (found - there).clamp(min=0).sum() + (there - found).clamp(min=0).sum()
    switches = (association[:, 1:] * (1 - association[:, :-1])).sum()
    dmota = (errors + switches) / (found + 1.19e-7).sum()
    associated = (association.amax(-1) > 0.5).float()
    return dmotp + dmota + 10 * functional.binary_cross_entropy_with_logits(logits, associated)
