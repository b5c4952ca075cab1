"""Variants of BearingNet for the study of networks (docs/networks.md): train_doanet.py with more choices of ``model``.

    python3 -m benchmarks.network_variants 22 squeeze_1 model=squeeze --full dataset_dir=datasets/networks

Each variant changes one part of BearingNet; the shapes are those of bearing_model.py. Papers: squeeze-and-excitation:
Hu et al., CVPR 2018; depthwise separable convolutions: Howard et al., "MobileNets", 2017; Conformer: Gulati et al.,
Interspeech 2020; slots that compete: Locatello et al., NeurIPS 2020.
"""

import sys

import torch
from torch import nn
from torch.nn import functional

import train_doanet
from bearing_model import (
    BLOCKS,
    KEY_SIZE,
    POINTERS,
    REACH,
    WIDTH,
    BearingNet,
    ConvNorm,
    Gather,
    ResidualBlock,
)
from doatools.registry import MODELS

HEADS = 4
KERNEL = 15  # label frames that the convolution of a Conformer block spans


class SqueezeBlock(ResidualBlock):
    """A residual block whose maps are weighted by what their means over time and bands say."""

    def __init__(self, maps):
        super().__init__(maps)
        self.weights = nn.Sequential(nn.Linear(maps, maps // 4), nn.ReLU(), nn.Linear(maps // 4, maps), nn.Sigmoid())

    def forward(self, x, memory=None):
        found = self.two(functional.relu(self.one(x)))
        return functional.relu(x + found * self.weights(found.mean((2, 3)))[:, :, None, None])


class SeparableBlock(nn.Module):
    """A residual block of two depthwise separable convolutions."""

    def __init__(self, maps):
        super().__init__()
        self.depthwise = nn.ModuleList(nn.Conv2d(maps, maps, 3, padding=1, groups=maps, bias=False) for _ in range(2))
        self.pointwise = nn.ModuleList(ConvNorm(maps, maps, (1, 1)) for _ in range(2))
        nn.init.zeros_(self.pointwise[1].bn.weight)

    def forward(self, x, memory=None):
        found = functional.relu(self.pointwise[0](self.depthwise[0](x)))
        return functional.relu(x + self.pointwise[1](self.depthwise[1](found)))


class ConformerBlock(nn.Module):
    """Half a feed-forward layer, self-attention, convolution over time, half a feed-forward layer: (B, T, H) → same."""

    def __init__(self, size, dropout):
        super().__init__()
        self.feed = nn.ModuleList(nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, 4 * size), nn.SiLU(), nn.Dropout(dropout), nn.Linear(4 * size, size),
            nn.Dropout(dropout)) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(3))
        self.attention = nn.MultiheadAttention(size, HEADS, dropout, batch_first=True)
        self.gate = nn.Linear(size, 2 * size)
        self.over_time = nn.Conv1d(size, size, KERNEL, padding=KERNEL // 2, groups=size)
        self.batch_norm = nn.BatchNorm1d(size)
        self.out = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = x + 0.5 * self.feed[0](x)
        now = self.norms[0](x)
        x = x + self.dropout(self.attention(now, now, now, need_weights=False)[0])
        now = functional.glu(self.gate(self.norms[1](x))).transpose(1, 2)
        now = functional.silu(self.batch_norm(self.over_time(now))).transpose(1, 2)
        x = x + self.dropout(self.out(now))
        return self.norms[2](x + 0.5 * self.feed[1](x))


class CompetingGather(Gather):
    """Slots share each pointer among them, so that two slots need not follow one source."""

    def forward(self, states, pointers, count, memory=None):
        query = self.query(states).unflatten(2, (self.slots, KEY_SIZE))  # (B, T, N, D)
        key = self.key(states).unflatten(2, (POINTERS, KEY_SIZE)).flatten(1, 2)  # (B, T·P, D)
        logits = torch.einsum("btnd,bkd->btnk", query, key) * KEY_SIZE**-0.5
        shares = functional.pad(logits, (0, 0, 0, 1)).softmax(2)[:, :, :-1]  # the rest belongs to no slot
        frames = torch.arange(count, device=states.device)
        apart = frames - frames.unsqueeze(1)
        near = torch.where(apart.abs() <= REACH, self.nearness[apart.clamp(-REACH, REACH) + REACH].exp(), 0.0)
        weights = shares * near.repeat_interleave(POINTERS, 1).unsqueeze(1)  # (B, T, N, T·P)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-6)
        return torch.einsum("btnk,bkv->btnv", weights, pointers.flatten(1, 2))


class NoPointers(nn.Module):
    """In place of Pointers: nothing, so that directions come from the hidden layers alone."""

    def forward(self, features, maps):
        return features.new_zeros(maps.shape[0], maps.shape[2], POINTERS, 3)


class Squeeze(BearingNet):
    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.blocks = nn.ModuleList(SqueezeBlock(config.nb_cnn2d_filt) for _ in range(BLOCKS))


class Separable(BearingNet):
    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.blocks = nn.ModuleList(SeparableBlock(config.nb_cnn2d_filt) for _ in range(BLOCKS))


class Recalling(BearingNet):
    """The strided stem and the residual blocks without pointers."""

    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.pointers = NoPointers()


class Competing(BearingNet):
    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.gather = CompetingGather(config.rnn_size, shape.slots)


class Conforming(BearingNet):
    """Two Conformer blocks in place of the recurrent layers."""

    def __init__(self, shape, config):
        super().__init__(shape, config)
        del self.gru
        self.entry = nn.Linear(WIDTH + 3 * POINTERS, config.rnn_size)
        self.conformer = nn.ModuleList(ConformerBlock(config.rnn_size, config.dropout_rate) for _ in range(2))

    def _recurrent(self, x, batch, memory):
        x = self.entry(x)
        for block in self.conformer:
            x = block(x)
        return x


VARIANTS = {"competing": Competing, "conforming": Conforming, "recalling": Recalling, "separable": Separable,
            "squeeze": Squeeze}


def main(argv=None):
    for name, variant in VARIANTS.items():
        MODELS.add(name, variant)
    return train_doanet.main(argv)


if __name__ == "__main__":
    sys.exit(main())
