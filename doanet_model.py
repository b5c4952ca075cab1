"""DOAnet: a convolutional recurrent network from features to directions and activities.

Dims: B batch, C feature channels, F mel bands, T' feature frames, T label frames, N slots, H recurrent units,
K convolution maps. Features (B, C, T', F) → Localization of doa (B, T, N, 3), unit vectors, and activity
logits (B, T, N), where T = T' / ratio (feature frames per label frame).

Paper: Adavanne, Politis, Virtanen, "Differentiable tracking-based training of deep learning sound source
localizers", WASPAA 2021; its front end: Adavanne et al., "Sound event localization and detection of
overlapping sources using convolutional recurrent neural networks", JSTSP 2018.
"""

import math
import re

import torch
from torch import nn
from torch.nn import functional

from doatools.errors import UserError
from doatools.types import Localization

FIRST_RADIUS_DEG = 8.0  # of an untrained network
UNLIKELY = -3.0  # activity logit of slots that given weights do not have


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


def head(size, config, out_size):
    """``nb_fnn_layers`` × (linear, ReLU), then a linear layer."""
    layers = []
    for _ in range(config.nb_fnn_layers):
        layers += [nn.Linear(size, config.fnn_size), nn.ReLU()]
        size = config.fnn_size
    return nn.Sequential(*layers, nn.Linear(size, out_size))


class Calibrated:
    """A network whose last layers are shifted to calibrate it (calibrate_doanet.py)."""

    @torch.no_grad()
    def calibrate(self, threshold, radius_factor=1.0):
        """Shift the activity so that the probability ``threshold`` becomes 0.5, and multiply the radius."""
        self.activity_head[-1].bias -= math.log(threshold / (1 - threshold))
        if self.radius_head is not None:
            self.radius_head[-1].bias += math.log(radius_factor)


def radius_of(logits):
    """Output of a head (B, T, N) → error radius in degrees, the same shape."""
    return (FIRST_RADIUS_DEG * torch.exp(logits.clamp(-8, 8))).clamp(max=180.0)


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
        self.doa_head = head(hidden, config, 3 * self.max_sources)
        self.activity_head = head(hidden, config, self.max_sources) if shape.activity else None
        self.radius_head = None

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
            # The radius learns from the state of the network, which does not learn from the radius.
            others = None if self.radius_head is None else {"radius": radius_of(self.radius_head(x.detach()))}
        return Localization(doa, logits, others)


class DOAnetRadius(Calibrated, DOAnet):
    """DOAnet that estimates its error, too: the radius of a slot holds the true direction in 90 % of the cases
    (doatools.train.losses, PITLoss).

    It can begin from the weights of a DOAnet, also of one with fewer slots.
    """

    def __init__(self, shape, config):
        super().__init__(shape, config)
        if shape.radius:
            self.radius_head = head(config.rnn_size, config, self.max_sources)

    def begin_from(self, state):
        """A state dict of DOAnet or of this class, with at most as many slots → that of this network. Further slots are
        unlikely to be active at first, and an error radius that the weights lack is untrained."""
        own, last = self.state_dict(), len(self.doa_head) - 1
        begun = {name: value for name, value in own.items() if name.startswith("radius_head.")} | dict(state)
        own[f"activity_head.{last}.bias"] = torch.full((self.max_sources,), UNLIKELY)
        for branch, values in (("doa_head", 3), ("activity_head", 1), ("radius_head", 1)):
            for name in (f"{branch}.{last}.weight", f"{branch}.{last}.bias"):
                if name in state and name in own:
                    begun[name] = _with_more_slots(state[name], own[name], values)
        return begun


def _with_more_slots(given, own, values):
    """Rows of a last layer, ``values`` for each of n slots → for all slots: ``own``, whose first n are those given."""
    if len(given) >= len(own):
        return given
    rows = own.unflatten(0, (values, -1)).clone()
    given = given.unflatten(0, (values, -1))
    rows[:, : given.shape[1]] = given
    return rows.flatten(0, 1)


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
