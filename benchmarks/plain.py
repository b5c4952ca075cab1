"""Plain reference networks: the same mathematics, in eager float32 and default memory layout.

Written to be read; tests compare their results with those of the toolkit.
"""

import torch
from torch import nn
from torch.nn import functional

from doatools.types import Localization


class PlainDOAnet(nn.Module):
    """DOAnet of default size as in its paper: convolution, batch norm, ReLU, pool, one after the other."""

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


class PlainFrontEnd(nn.Module):
    """Padding, convolution, batch norm, ReLU and pool, three times; then layer norm over the chunk."""

    def __init__(self, frames=25, channels=8, bins=1024):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv2d(c, 64, 3), "bn": nn.BatchNorm2d(64)}) for c in (channels, 64, 64))
        self.norm = nn.LayerNorm((frames, 64 * -(-bins // 128)))

    def forward(self, x):  # (B, C, T, F)
        for block, pool in zip(self.blocks, (8, 8, 2)):
            x = block["bn"](block["conv"](functional.pad(x, (1, 1, 1, 1), mode="replicate")))
            x = functional.max_pool2d(functional.relu(x), (1, pool), ceil_mode=True)
        return self.norm(x.transpose(1, 2).flatten(2))  # (B, T, 512)


class PlainOutputLayer(nn.Module):
    def __init__(self, size, slots):
        super().__init__()
        self.activity, self.azimuth, self.elevation = (nn.Linear(size, slots) for _ in range(3))

    def forward(self, x):
        return self.activity(x), self.azimuth(x), self.elevation(x)


def plain_localization(logits, azimuth, elevation, **extras):
    doa = torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1)
    return Localization(doa, logits, extras={"azimuth": azimuth, "elevation": elevation, **extras})


class PlainCNN(nn.Module):
    """With the toolkit's names, so that state dicts can be exchanged; the same holds for the next two."""

    def __init__(self, slots=4, **front):
        super().__init__()
        self.front = PlainFrontEnd(**front)
        self.output = PlainOutputLayer(self.front.norm.normalized_shape[1], slots)

    def forward(self, x):
        return plain_localization(*self.output(self.front(x)))


class PlainSELDnet(nn.Module):
    def __init__(self, slots=4, layers=4, **front):
        super().__init__()
        self.front = PlainFrontEnd(**front)
        self.gru = nn.GRU(self.front.norm.normalized_shape[1], 128, layers, batch_first=True, bidirectional=True)
        self.output = PlainOutputLayer(256, slots)

    def forward(self, x):
        return plain_localization(*self.output(self.gru(self.front(x))[0]))


class PlainADRENALINE(nn.Module):
    """The decoder step by step: attend, join with the last output, GRU, output layer."""

    def __init__(self, slots=4, layers=2, **front):
        super().__init__()
        self.front = PlainFrontEnd(**front)
        self.encoder = nn.GRU(self.front.norm.normalized_shape[1], 128, layers, batch_first=True, bidirectional=True)
        self.first_state = nn.Parameter(torch.zeros(2 * layers, 1, 128))
        self.decoder = nn.ModuleDict({
            "key": nn.Linear(256, 256, bias=False), "gru": nn.GRU(3 * slots + 256, 256, layers, batch_first=True),
            "output": PlainOutputLayer(256, slots)})

    def forward(self, x):
        x = self.front(x)
        encoded, last = self.encoder(x, self.first_state.repeat(1, len(x), 1))  # (B, T, 256), (2·layers, B, 128)
        state = torch.stack([torch.cat([last[i], last[i + 1]], -1) for i in range(0, len(last), 2)])
        keys = self.decoder["key"](encoded)
        last = encoded.new_zeros(len(x), 3 * self.decoder["output"].activity.out_features)
        outputs, attention = [], []
        for _ in range(encoded.shape[1]):
            weight = torch.softmax((keys * state[-1].unsqueeze(1)).sum(-1) / 128**0.5, -1)  # (B, T)
            context = (weight.unsqueeze(-1) * encoded).sum(1)  # (B, 256)
            out, state = self.decoder["gru"](torch.cat([last, context], -1).unsqueeze(1), state)
            logits, azimuth, elevation = self.decoder["output"](out.squeeze(1))
            last = torch.cat([logits, torch.stack([azimuth, elevation], -1).flatten(1)], -1)
            outputs.append((logits, azimuth, elevation))
            attention.append(weight)
        return plain_localization(*(torch.stack(a, 1) for a in zip(*outputs)), attention=torch.stack(attention, 1))
