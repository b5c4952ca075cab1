"""BearingNet: a network that weighs the directions that features show, instead of recalling directions.

Features such as intensity vectors hold a direction in each frame and band; what has to be learned is which of them
to trust, and for which source. Masks over the feature frames and bands of a label frame therefore gather the
vectors of the bands into P vectors ("pointers"). A recurrent network reads the pointers and what the convolutions
found. The direction of a slot is a mean of the pointers of the label frames around it, weighted by attention, and
a correction. Directions are right as soon as the masks are, in all directions alike, after minutes of training
rather than hours.

It estimates its own error as well: the radius of a slot is the angle that holds the true direction in 90 % of the cases
(doatools.train.losses, PITLoss). The radius learns from the state of the network, which does not learn from the radius.

With ``causal=True`` no layer reaches ahead, and a label frame is predicted DELAY frames later. What a layer needs of
the past is kept in a Memory, so that live sound is processed frame by frame, no frame is computed twice, and a file
gives the same as its frames one by one.

Dims: B batch, C feature channels, F bands, R feature frames per label frame, T label frames, T' = R·T feature
frames, N slots, K maps, F' = F / 4 bands of maps, H recurrent units, P pointers, D size of queries and keys.
Features (B, C, T', F) → Localization of doa (B, T, N, 3), unit vectors, activity logits and radius (B, T, N).

Papers: directions from masked intensity vectors: Yasuda et al., "Sound event localization based on sound intensity
vector refined by DNN-based denoising and source separation", ICASSP 2020; attention: Vaswani et al., "Attention is
all you need", NeurIPS 2017; its bias by distance in time: Shaw et al., "Self-attention with relative position
representations", NAACL 2018; residual blocks: He et al., CVPR 2016; the convolutional recurrent frame: Adavanne et
al., JSTSP 2018 and WASPAA 2021.
"""

import torch
from torch import nn
from torch.nn import functional

from doanet_model import Calibrated, head, radius_of
from doatools.errors import UserError
from doatools.types import Localization

BAND_STRIDE = 4  # bands that the first convolution joins
BLOCKS = 2  # residual blocks
WIDTH = 256  # what the maps of a label frame are reduced to before the recurrent layers
POINTERS = 8
REACH = 10  # label frames before and after, whose pointers a slot may use
KEY_SIZE = 32
FAR = -30.0  # attention logit of frames out of reach
DELAY = 1  # label frames after a frame that a causal network hears before it predicts it


class Memory(dict):
    """What the layers of a causal network keep of the frames so far, {layer: tensor}; empty at the start of a
    recording."""

    def extended(self, layer, x, past, axis):
        """``x`` with up to ``past`` frames before it along ``axis``, which are kept for the next call."""
        x = torch.cat([self[layer], x], axis) if layer in self else x
        self[layer] = x.narrow(axis, max(x.shape[axis] - past, 0), min(past, x.shape[axis]))
        return x

    def preceded(self, layer, x, past, axis):
        """``x`` after exactly ``past`` frames, zeros before the start of the recording."""
        if layer not in self:
            self[layer] = x.new_zeros([past if n == axis else size for n, size in enumerate(x.shape)])
        return self.extended(layer, x, past, axis)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm; with a Memory, all of the padding in time is in the past."""

    def __init__(self, in_maps, out_maps, kernel, stride=(1, 1), padding=(0, 0)):
        super().__init__()
        self.conv = nn.Conv2d(in_maps, out_maps, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_maps)
        self.past = kernel[0] - stride[0]
        self.causal_padding = (0, padding[1])

    def forward(self, x, memory=None):
        if memory is None:
            return self.bn(self.conv(x))
        conv, x = self.conv, memory.preceded(self, x, self.past, 2)
        return self.bn(functional.conv2d(x, conv.weight, conv.bias, conv.stride, self.causal_padding))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a skip connection; it begins as the identity."""

    def __init__(self, maps):
        super().__init__()
        self.one, self.two = (ConvNorm(maps, maps, (3, 3), padding=(1, 1)) for _ in range(2))
        nn.init.zeros_(self.two.bn.weight)

    def forward(self, x, memory=None):
        return functional.relu(x + self.two(functional.relu(self.one(x, memory)), memory))


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
    """Each slot's mean of the pointers up to REACH label frames away; with a Memory, of those that came before.

    States (B, T, H), pointers (B, T, P, 3) → (B, T, N, 3). A bias for each distance in time is learned; it begins by
    favouring near frames."""

    def __init__(self, size, slots):
        super().__init__()
        self.slots = slots
        self.query, self.key = nn.Linear(size, slots * KEY_SIZE), nn.Linear(size, POINTERS * KEY_SIZE)
        self.nearness = nn.Parameter(-0.3 * torch.arange(-REACH, REACH + 1).abs().float())

    def forward(self, states, pointers, count, memory=None):
        # Flattened rather than reshaped to a batch size, and with T = count, which the ONNX export would freeze.
        query = self.query(states).unflatten(2, (self.slots, KEY_SIZE)).flatten(1, 2)  # (B, T·N, D)
        key, pointers = self.key(states), pointers.flatten(2)
        if memory is not None:
            key = memory.extended((self, "key"), key, REACH, 1)
            pointers = memory.extended((self, "pointers"), pointers, REACH, 1)
        key = key.unflatten(2, (POINTERS, KEY_SIZE)).flatten(1, 2)  # (B, T·P, D), with a Memory of those before as well
        logits = query @ key.transpose(1, 2) * KEY_SIZE**-0.5  # (B, T·N, T·P)
        known = count if memory is None else pointers.shape[1]
        frames = torch.arange(known, device=states.device)
        apart = frames - frames[known - count :].unsqueeze(1)  # (T, T)
        bias = self.nearness[apart.clamp(-REACH, REACH) + REACH]
        within = apart.abs() <= REACH if memory is None else (apart <= 0) & (apart >= -REACH)
        bias = torch.where(within, bias, FAR)
        bias = bias.repeat_interleave(self.slots, 0).repeat_interleave(POINTERS, 1)  # (T·N, T·P)
        gathered = (logits + bias).softmax(-1) @ pointers.unflatten(2, (POINTERS, 3)).flatten(1, 2)  # (B, T·N, 3)
        return gathered.unflatten(1, (-1, self.slots))


class BearingNet(Calibrated, nn.Module):
    """See the module.

    Parameters
    ----------
    shape : Shape
    config : ModelConfig
        K is nb_cnn2d_filt, H rnn_size; dropout is before the recurrent layers and after them.
    """

    delay, memory = DELAY, Memory  # what callers of ``step`` need

    def __init__(self, shape, config):
        super().__init__()
        if not shape.vectors:
            raise UserError("model=bearing reads features that hold vectors: features=steered, or features=vectors")
        if shape.bands % BAND_STRIDE:
            raise UserError(f"model=bearing takes a multiple of {BAND_STRIDE} bands (nb_mel_bins), not {shape.bands}")
        maps, hidden = config.nb_cnn2d_filt, config.rnn_size
        self.slots, self.causal, self.ratio = shape.slots, config.causal, shape.ratio
        # Kernel R + 2 and padding 1: a label frame sees its feature frames and one on either side, or two before them.
        self.stem = ConvNorm(shape.channels, maps, (shape.ratio + 2, 2 * BAND_STRIDE), (shape.ratio, BAND_STRIDE),
                             (1, BAND_STRIDE // 2))
        self.blocks = nn.ModuleList(ResidualBlock(maps) for _ in range(BLOCKS))
        self.pointers = Pointers(shape, maps)
        self.reduce = nn.Linear(maps * shape.bands // BAND_STRIDE, WIDTH)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.gru = nn.GRU(WIDTH + 3 * POINTERS, hidden, config.nb_rnn_layers, batch_first=True,
                          bidirectional=not config.causal)
        self.gather = Gather(hidden, self.slots)
        self.doa_head = head(hidden, config, 3 * self.slots)
        self.activity_head = head(hidden, config, self.slots) if shape.activity else None
        self.radius_head = head(hidden + self.slots, config, self.slots) if shape.radius else None

    def forward(self, features):
        """(B, C, T', F) → Localization of these frames."""
        if not self.causal:
            return self._localized(features)
        # The last DELAY frames are predicted without what follows, as at the end of a recording.
        padded = functional.pad(features, (0, 0, 0, DELAY * self.ratio))
        found = self._localized(padded, Memory())
        logits = None if found.activity_logits is None else found.activity_logits[:, DELAY:]
        others = None if found.others is None else {name: values[:, DELAY:] for name, values in found.others.items()}
        return Localization(found.doa[:, DELAY:], logits, others)

    def step(self, features, memory):
        """Features (B, C, T', F) of the next frames, after those that ``memory`` holds → Localization of the T frames
        that began DELAY frames earlier, the first DELAY of a recording before its start; causal networks only."""
        return self._localized(features, memory)

    def _localized(self, features, memory=None):
        x = functional.relu(self.stem(features, memory))
        for block in self.blocks:
            x = block(x, memory)  # (B, K, T, F')
        with torch.autocast(x.device.type, enabled=False):  # directions stay float32
            pointers = self.pointers(features.float(), x.float())  # (B, T, P, 3)
        x = x.transpose(1, 2).flatten(2)  # (B, T, K·F')
        x = self.dropout(functional.relu(self.reduce(x)))
        x = torch.cat([x, pointers.flatten(2).to(x.dtype)], -1)
        x = self.dropout(self._recurrent(x, features.shape[0], memory))  # (B, T, H)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            correction = self.doa_head(x).unflatten(-1, (3, self.slots)).transpose(-1, -2)  # (B, T, N, 3)
            doa = self.gather(x, pointers, features.shape[2] // self.ratio, memory) + correction
            length = torch.sqrt(doa.square().sum(-1, keepdim=True) + 1e-6)
            logits = None if self.activity_head is None else self.activity_head(x)
            others = None if self.radius_head is None else {"radius": self._radius(x, length)}
        return Localization(doa / length, logits, others)

    def _recurrent(self, x, batch, memory):
        # The first state is given, with the batch size of the input, or the ONNX export would freeze it.
        directions = 1 if self.causal else 2
        state = x.new_zeros(directions * self.gru.num_layers, batch, self.gru.hidden_size)
        x, state = self.gru(x, state if memory is None else memory.get(self.gru, state))
        if self.causal:
            memory[self.gru] = state
            return torch.tanh(x)
        forward, backward = torch.tanh(x).chunk(2, -1)
        return forward * backward

    def _radius(self, x, length):
        """Degrees, (B, T, N); pointers that disagree make short means, so the length says much."""
        return radius_of(self.radius_head(torch.cat([x, length.squeeze(-1)], -1).detach()))
