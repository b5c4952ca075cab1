"""The yardsticks: the same mathematics written plainly, eager float32 in default memory layout.

Kept readable, and tested to give the numbers of the toolkit's own code.
"""

import torch
from torch import nn
from torch.nn import functional

from doatools.localization import Localization


class PlainDOAnet(nn.Module):
    """DOAnet of default size as its paper draws it: convolution, batch norm, ReLU, pool, one after the other."""

    def __init__(self, channels=7, slots=2):
        super().__init__()
        self.slots = slots
        self.convs = nn.ModuleList(nn.Conv2d(c, 128, 3, padding=1) for c in (channels, 128, 128))
        self.norms = nn.ModuleList(nn.BatchNorm2d(128) for _ in range(3))
        self.gru = nn.GRU(1024, 128, 2, batch_first=True, bidirectional=True)
        self.doa = nn.ModuleList(nn.Linear(128, size) for size in (128, 128, 3 * slots))
        self.activity = nn.ModuleList(nn.Linear(128, size) for size in (128, 128, slots))

    def forward(self, x):  # (B, C, T', F)
        for conv, norm, pool in zip(self.convs, self.norms, ((5, 2), (1, 2), (1, 2))):
            x = functional.max_pool2d(functional.relu(norm(conv(x))), pool)
        x, _ = self.gru(x.transpose(1, 2).flatten(2))  # (B, T, 256)
        x = torch.tanh(x)
        x = x[..., :128] * x[..., 128:]
        doa, activity = x, x
        for first, second in zip(self.doa[:-1], self.activity[:-1]):
            doa, activity = functional.relu(first(doa)), functional.relu(second(activity))
        doa = torch.tanh(self.doa[-1](doa)).unflatten(-1, (3, self.slots)).transpose(-1, -2)
        doa = doa / torch.sqrt(doa.square().sum(-1, keepdim=True) + 1e-10)
        return Localization(doa, self.activity[-1](activity))
