"""BearingNet: a network that weighs the directions that features show, instead of recalling directions.

Features such as intensity vectors hold a direction in each frame and band; what has to be learned is which of them
to trust, and for which source. Masks over the feature frames and bands of a label frame therefore gather the
vectors of the bands into P vectors ("pointers"). A recurrent network reads the pointers and what the convolutions
found. The direction of a slot is a mean of the pointers of the label frames around it, weighted by attention, and
a correction. Directions are right as soon as the masks are, in all directions alike, after minutes of training
rather than hours.

Dims: B batch, C feature channels, F bands, R feature frames per label frame, T label frames, T' = R·T feature
frames, N slots, K maps, F' = F / 4 bands of maps, H recurrent units, P pointers, D size of queries and keys.
Features (B, C, T', F) → Localization of doa (B, T, N, 3), unit vectors, and activity logits (B, T, N).

Papers: directions from masked intensity vectors: Yasuda et al., "Sound event localization based on sound intensity
vector refined by DNN-based denoising and source separation", ICASSP 2020; attention: Vaswani et al., "Attention is
all you need", NeurIPS 2017; its bias by distance in time: Shaw et al., "Self-attention with relative position
representations", NAACL 2018; residual blocks: He et al., CVPR 2016; the convolutional recurrent frame: Adavanne et
al., JSTSP 2018 and WASPAA 2021.
"""

import torch
from torch import nn
from torch.nn import functional

from doatools.errors import UserError
from doatools.types import Localization

BAND_STRIDE = 4  # bands that the first convolution joins
BLOCKS = 2  # residual blocks
WIDTH = 256  # what the maps of a label frame are reduced to before the recurrent layers
POINTERS = 8
REACH = 10  # label frames before and after, whose pointers a slot may use
KEY_SIZE = 32
FAR = -30.0  # attention logit of frames out of reach


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm."""

    def __init__(self, in_maps, out_maps, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(in_maps, out_maps, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_maps)

    def forward(self, x):
        return self.bn(self.conv(x))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a skip connection; it begins as the identity."""

    def __init__(self, maps):
        super().__init__()
        self.one, self.two = (ConvNorm(maps, maps, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.two.bn.weight)

    def forward(self, x):
        return functional.relu(x + self.two(functional.relu(self.one(x))))


class Pointers(nn.Module):
    """Features (B, C, T', F) and maps (B, K, T, F') → P vectors per label frame, (B, T, P, 3).

    A learned linear map of the channels gives each band's vector; it begins as the sum of the channels that hold
    vectors. A mask is a softmax over the R·F feature frames and bands of a label frame.

    Parameters
    ----------
    shape : Shape
        ``shape.vectors``: first channel of each triple (y, z, x) of features that points at sources.
    maps : int, K
    """

    def __init__(self, shape, maps):
        super().__init__()
        self.ratio = shape.ratio
        vectors = torch.zeros(shape.bands, shape.channels, 3)
        for first in shape.vectors:
            vectors[:, [first, first + 1, first + 2], [1, 2, 0]] = 1.0
        self.vectors = nn.Parameter(vectors)
        self.masks = nn.Linear(maps, self.ratio * BAND_STRIDE * POINTERS)

    def forward(self, features, maps):
        # Frames and bands are in the order of the maps, (F', R, 4), so that masks need not be copied into another one.
        vectors = torch.einsum("bctf,fcv->btfv", features, self.vectors)  # (B, T', F, 3)
        vectors = vectors.unflatten(2, (-1, BAND_STRIDE)).unflatten(1, (-1, self.ratio))  # (B, T, R, F', 4, 3)
        vectors = vectors.transpose(2, 3).flatten(2, 4)  # (B, T, R·F, 3)
        masks = self.masks(maps.permute(0, 2, 3, 1))  # (B, T, F', R·4·P)
        masks = masks.unflatten(3, (-1, POINTERS)).flatten(2, 3)  # (B, T, R·F, P)
        return masks.softmax(-2).transpose(-2, -1) @ vectors


class Gather(nn.Module):
    """Each slot's mean of the pointers up to REACH label frames away.

    States (B, T, H), pointers (B, T, P, 3) → (B, T, N, 3). A bias for each distance in time is learned; it begins by
    favouring near frames."""

    def __init__(self, size, slots):
        super().__init__()
        self.slots = slots
        self.query, self.key = nn.Linear(size, slots * KEY_SIZE), nn.Linear(size, POINTERS * KEY_SIZE)
        self.nearness = nn.Parameter(-0.3 * torch.arange(-REACH, REACH + 1).abs().float())

    def forward(self, states, pointers):
        batch = states.shape[0]
        query = self.query(states).reshape(batch, -1, KEY_SIZE)  # (B, T·N, D)
        key = self.key(states).reshape(batch, -1, KEY_SIZE)  # (B, T·P, D)
        logits = query @ key.transpose(1, 2) * KEY_SIZE**-0.5  # (B, T·N, T·P)
        frames = torch.arange(states.shape[1], device=states.device)
        apart = frames - frames.unsqueeze(1)  # (T, T)
        bias = self.nearness[apart.clamp(-REACH, REACH) + REACH]
        bias = torch.where(apart.abs() <= REACH, bias, FAR)
        bias = bias.repeat_interleave(self.slots, 0).repeat_interleave(POINTERS, 1)  # (T·N, T·P)
        gathered = (logits + bias).softmax(-1) @ pointers.reshape(batch, -1, 3)  # (B, T·N, 3)
        return gathered.reshape(batch, -1, self.slots, 3)


def _head(size, config, out_size):
    """``nb_fnn_layers`` × (linear, ReLU), then a linear layer."""
    layers = []
    for _ in range(config.nb_fnn_layers):
        layers += [nn.Linear(size, config.fnn_size), nn.ReLU()]
        size = config.fnn_size
    return nn.Sequential(*layers, nn.Linear(size, out_size))


class BearingNet(nn.Module):
    """See the module.

    Parameters
    ----------
    shape : Shape
    config : ModelConfig
        K is nb_cnn2d_filt, H rnn_size; dropout is before the recurrent layers and after them.
    """

    def __init__(self, shape, config):
        super().__init__()
        if not shape.vectors:
            raise UserError("model=bearing reads features that hold vectors: features=foa (ambisonics) or "
                            "features=vectors (capsules)")
        if shape.bands % BAND_STRIDE:
            raise UserError(f"model=bearing takes a multiple of {BAND_STRIDE} bands (nb_mel_bins), not {shape.bands}")
        maps, hidden = config.nb_cnn2d_filt, config.rnn_size
        self.slots = shape.slots
        # Kernel R + 2 and padding 1: a label frame sees its feature frames and one on either side.
        self.stem = ConvNorm(shape.channels, maps, (shape.ratio + 2, 2 * BAND_STRIDE), (shape.ratio, BAND_STRIDE),
                             (1, BAND_STRIDE // 2))
        self.blocks = nn.Sequential(*(ResidualBlock(maps) for _ in range(BLOCKS)))
        self.pointers = Pointers(shape, maps)
        self.reduce = nn.Linear(maps * shape.bands // BAND_STRIDE, WIDTH)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.gru = nn.GRU(WIDTH + 3 * POINTERS, hidden, config.nb_rnn_layers, batch_first=True, bidirectional=True)
        self.gather = Gather(hidden, self.slots)
        self.doa_head = _head(hidden, config, 3 * self.slots)
        self.activity_head = _head(hidden, config, self.slots) if shape.activity else None

    def forward(self, features):
        """(B, C, T', F) → Localization."""
        x = self.blocks(functional.relu(self.stem(features)))  # (B, K, T, F')
        with torch.autocast(x.device.type, enabled=False):  # directions stay float32
            pointers = self.pointers(features.float(), x.float())  # (B, T, P, 3)
        x = x.transpose(1, 2).flatten(2)  # (B, T, K·F')
        x = self.dropout(functional.relu(self.reduce(x)))
        x = torch.cat([x, pointers.flatten(2).to(x.dtype)], -1)
        # The first state is given, or the ONNX export would freeze its batch size.
        x, _ = self.gru(x, x.new_zeros(2 * self.gru.num_layers, features.shape[0], self.gru.hidden_size))  # (B, T, 2H)
        forward, backward = torch.tanh(x).chunk(2, -1)
        x = self.dropout(forward * backward)  # (B, T, H)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            correction = self.doa_head(x).unflatten(-1, (3, self.slots)).transpose(-1, -2)  # (B, T, N, 3)
            doa = self.gather(x, pointers) + correction
            doa = doa / torch.sqrt(doa.square().sum(-1, keepdim=True) + 1e-6)
            logits = None if self.activity_head is None else self.activity_head(x)
        return Localization(doa, logits)
