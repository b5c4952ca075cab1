"""DOAnet: a convolutional recurrent network from features to directions and activities.

Dims: B batch, C feature channels, F mel bands, T' feature frames, T label frames, N slots, H recurrent units,
K convolution maps. Features (B, C, T', F) → Localization of doa (B, T, N, 3), unit vectors, and activity
logits (B, T, N), where T = T' / ratio (feature frames per label frame).

Paper: Adavanne, Politis, Virtanen, "Differentiable tracking-based training of deep learning sound source
localizers", WASPAA 2021; its front end: Adavanne et al., "Sound event localization and detection of
overlapping sources using convolutional recurrent neural networks", JSTSP 2018.
"""

import functools
import re

import torch
from torch import nn
from torch.nn import functional

from doatools.errors import UserError
from doatools.types import Localization


class ConvBlock(nn.Module):
    """3×3 convolution, batch norm, max-pool over (time, frequency), ReLU, dropout of whole maps.

    Pooling precedes the ReLU: a maximum and a monotone function commute, and the ReLU then processes a tenth of the
    values.
    """

    def __init__(self, in_maps, out_maps, pool, dropout):
        super().__init__()
        self.conv = nn.Conv2d(in_maps, out_maps, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_maps)
        self.pool = nn.MaxPool2d(pool)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x):
        return self.dropout(functional.relu(self.pool(self.bn(self.conv(x)))))


class SelfAttention(nn.Module):
    """Multi-head self-attention over label frames with biases, then tanh; (B, T, H) → (B, T, H)."""

    def __init__(self, size, heads, dropout):
        super().__init__()
        if size % heads:
            raise UserError(f"rnn_size ({size}) must be a multiple of nb_heads ({heads})")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))

    def forward(self, x):
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, H / heads)
            for f in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return torch.tanh(self.out(mixed.transpose(1, 2).flatten(2)))


def _head(in_size, hidden, layers, out_size):
    """``layers`` × (linear, ReLU), then a linear layer."""
    modules = []
    for _ in range(layers):
        modules += [nn.Linear(in_size, hidden), nn.ReLU()]
        in_size = hidden
    return nn.Sequential(*modules, nn.Linear(in_size, out_size))


class DOAnet(nn.Module):
    """The network of the paper.

    Parameters
    ----------
    shape : Shape of its input (7 feature channels for ambisonics, 10 for four capsules) and output
    config : ModelConfig, the sizes of its layers
    """

    def __init__(self, shape, config):
        super().__init__()
        self.max_sources = shape.slots
        maps, hidden, dropout = config.nb_cnn2d_filt, config.rnn_size, config.dropout_rate
        time_pools = [shape.ratio] + [1] * (len(config.f_pool_size) - 1)
        self.blocks = nn.Sequential(*(
            ConvBlock(maps if i else shape.channels, maps, pool, dropout)
            for i, pool in enumerate(zip(time_pools, config.f_pool_size))
        ))
        bands = shape.bands
        for pool in config.f_pool_size:
            bands //= pool
        if bands < 1:
            raise UserError(f"f_pool_size={list(config.f_pool_size)} pools {shape.bands} bands to nothing")
        self.gru = nn.GRU(maps * bands, hidden, config.nb_rnn_layers, batch_first=True, bidirectional=True,
                          dropout=dropout if config.nb_rnn_layers > 1 else 0.0)
        self.attention = SelfAttention(hidden, config.nb_heads, dropout) if config.self_attn else None
        head = functools.partial(_head, hidden, config.fnn_size, config.nb_fnn_layers)
        self.doa_head = head(3 * self.max_sources)
        self.activity_head = head(self.max_sources) if shape.activity else None

    def forward(self, features):
        """(B, C, T', F) → Localization."""
        x = self.blocks(features)  # (B, K, T, F')
        x = x.transpose(1, 2).flatten(2)  # (B, T, K·F'), index = map · F' + band
        x, _ = self.gru(x)  # (B, T, 2H)
        x = torch.tanh(x)
        forward, backward = x.chunk(2, dim=-1)
        x = forward * backward  # (B, T, H)
        with torch.autocast(x.device.type, enabled=False):  # heads and unit vectors stay float32
            x = x.float()
            if self.attention is not None:
                x = self.attention(x)
            doa = torch.tanh(self.doa_head(x)).unflatten(-1, (3, self.max_sources)).transpose(-1, -2)  # (B, T, N, 3)
            doa = doa / torch.sqrt(doa.square().sum(-1, keepdim=True) + 1e-10)
            logits = self.activity_head(x) if self.activity_head is not None else None
        return Localization(doa, logits)


_ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "out"}
# Names in published DOAnet state dicts → ours; a published convolution block is three entries of its list
# (convolution, pool, dropout), a published head a list of linear layers without the ReLUs between.
_PUBLISHED = (
    (r"^conv_block_list\.(\d+)\.(conv|bn)\.", lambda m: f"blocks.{int(m[1]) // 3}.{m[2]}."),
    (r"^attn\.fc_([qkvo])\.", lambda m: f"attention.{_ATTENTION[m[1]]}."),
    (r"^fnn_list\.(\d+)\.", lambda m: f"doa_head.{2 * int(m[1])}."),
    (r"^fnn_act_list\.(\d+)\.", lambda m: f"activity_head.{2 * int(m[1])}."),
)


def from_published(state):
    """A state dict with published names → the names of this toolkit; names that are already those stay."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in _PUBLISHED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed
