"""ADRENALINE, and the two networks it was compared with, SELDnet and a CNN: from spectra to directions.

Dims: B batch, C feature channels, T label frames of a chunk (one feature frame each), F frequency bins, N slots,
H recurrent units of one direction, D = 2H. Features (B, C, T, F) → Localization of doa (B, T, N, 3), unit
vectors, and activity logits (B, T, N); ``extras`` holds azimuth and elevation (B, T, N), radians, as the
networks give them, and ADRENALINE's attention (B, T of the decoder, T of the encoder), whose rows sum to 1.

The number of frames T is part of each network (layer norm over a whole chunk).

Papers: Schymura et al., "Exploiting attention-based sequence-to-sequence architectures for sound event
localization", EUSIPCO 2020; SELDnet: Adavanne et al., JSTSP 2018.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from doatools.errors import UserError
from doatools.types import Localization

MAPS = 64  # of each convolution
POOLS = (8, 8, 2)  # over frequency, one for each block; incomplete windows at the end are pooled as well


class ConvBlock(nn.Module):
    """3×3 convolution with replicated borders, batch norm, max-pool over frequency, ReLU, dropout.

    Pooling precedes the ReLU: a maximum and a monotone function commute, and the ReLU then processes an eighth of the
    values.
    """

    def __init__(self, in_maps, pool, dropout):
        super().__init__()
        self.conv = nn.Conv2d(in_maps, MAPS, 3, padding=1, padding_mode="replicate")
        self.bn = nn.BatchNorm2d(MAPS)
        self.pool = nn.MaxPool2d((1, pool), ceil_mode=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(functional.relu(self.pool(self.bn(self.conv(x)))))


class FrontEnd(nn.Module):
    """Three convolution blocks and layer norm over the chunk: (B, C, T, F) → (B, T, E), E = ``size``."""

    def __init__(self, shape, config):
        super().__init__()
        self.frames, self.bins = shape.frames, shape.bands
        if shape.ratio != 1:
            raise UserError(f"model={config.model} predicts once per feature frame: label_hop_len_s must equal "
                            f"hop_len_s, not be {shape.ratio} times as long")
        self.blocks = nn.Sequential(*(
            ConvBlock(MAPS if i else shape.channels, pool, config.dropout_rate) for i, pool in enumerate(POOLS)))
        bins = self.bins
        for pool in POOLS:
            bins = math.ceil(bins / pool)
        self.size = MAPS * bins
        self.norm = nn.LayerNorm((self.frames, self.size))

    def forward(self, features):
        if features.shape[-2:] != (self.frames, self.bins):
            raise UserError(f"this network reads chunks of {self.frames} frames of {self.bins} bins (layer norm over "
                            f"the whole chunk), not of {features.shape[-2]} frames of {features.shape[-1]} bins")
        x = self.blocks(features)  # (B, K, T, F')
        return self.norm(x.transpose(1, 2).flatten(2))  # (B, T, K·F'), index = map · F' + bin


class OutputLayer(nn.Module):
    """Linear layers to activity logits, azimuths and elevations (radians); (B, T, D) → Localization, in float32."""

    def __init__(self, size, shape):
        super().__init__()
        self.slots, self.with_activity = shape.slots, shape.activity
        self.activity, self.azimuth, self.elevation = (nn.Linear(size, self.slots) for _ in range(3))

    def fused(self):
        """Weight (3N, D) and bias of one linear layer to logits, az1, el1, az2, el2, …"""
        return (torch.cat([getattr(self.activity, name),
                           torch.stack([getattr(self.azimuth, name), getattr(self.elevation, name)], 1).flatten(0, 1)])
                for name in ("weight", "bias"))

    def forward(self, x, **extras):
        with torch.autocast(x.device.type, enabled=False):
            return self.localization(functional.linear(x.float(), *self.fused()), **extras)

    def localization(self, values, **extras):
        """Values of the fused layer (B, T, 3N) → Localization."""
        logits, angles = values[..., :self.slots], values[..., self.slots:].unflatten(-1, (self.slots, 2))
        azimuth, elevation = angles.unbind(-1)  # (B, T, N)
        flat = elevation.cos()
        doa = torch.stack([flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin()], -1)
        return Localization(doa, logits if self.with_activity else None,
                            extras={"azimuth": azimuth, "elevation": elevation, **extras})


class CNN(nn.Module):
    """Front end and output layer: each label frame sees its neighbours three frames away, and the layer norm."""

    def __init__(self, shape, config):
        super().__init__()
        self.front = FrontEnd(shape, config)
        self.output = OutputLayer(self.front.size, shape)

    def forward(self, features):
        return self.output(self.front(features))


class SELDnet(nn.Module):
    """Front end, bidirectional GRU of four layers as published, output layer."""

    def __init__(self, shape, config, layers=4):
        super().__init__()
        self.front = FrontEnd(shape, config)
        self.gru = nn.GRU(self.front.size, config.rnn_size, layers, batch_first=True, bidirectional=True)
        self.output = OutputLayer(2 * config.rnn_size, shape)

    def forward(self, features):
        return self.output(self.gru(self.front(features))[0])


class Decoder(nn.Module):
    """GRU that attends to all encoder frames at each step and whose last output is part of its input.

    Step t: attention = softmax over encoder frames of ⟨W·encoded, state⟩ / √H with the state of the last layer before
    the step; input = [logits, az1, el1, az2, …] of step t - 1 (zeros at first) and the attended mean of the encoded
    frames. Whatever depends on the encoded frames alone is computed for all of them before the first step: W·encoded,
    and their part of the gates of the first layer, so that the attended mean is taken of these gates.
    """

    def __init__(self, shape, config):
        super().__init__()
        size, self.feedback = 2 * config.rnn_size, 3 * shape.slots
        self.key = nn.Linear(size, size, bias=False)
        self.gru = nn.GRU(self.feedback + size, size, config.nb_rnn_layers)
        self.output = OutputLayer(size, shape)

    def forward(self, encoded, state):
        """Encoded frames (B, T, D) and first states, layers of (B, D) → Localization."""
        layers = self.gru.all_weights  # of each: input weight (3D, in), state weight (3D, D), their biases
        from_output, from_context = layers[0][0].split([self.feedback, encoded.shape[-1]], dim=1)
        keys = (self.key(encoded) * (encoded.shape[-1] / 2) ** -0.5).mT  # (B, D, T)
        gates_of_frames = functional.linear(encoded, from_context, layers[0][2])  # (B, T, 3D)
        out_weight, out_bias = self.output.fused()
        state, outputs, attention = list(state), [], []
        for step in range(encoded.shape[1]):
            weight = torch.softmax(state[-1].unsqueeze(1) @ keys, -1)  # (B, 1, T)
            gates = (weight @ gates_of_frames).squeeze(1)  # (B, 3D)
            if step:
                gates = gates + functional.linear(outputs[-1], from_output)
            state[0] = _gru_cell(gates, state[0], *layers[0][1::2])
            for i, (w_in, w_state, b_in, b_state) in enumerate(layers[1:], start=1):
                state[i] = _gru_cell(functional.linear(state[i - 1], w_in, b_in), state[i], w_state, b_state)
            outputs.append(functional.linear(state[-1], out_weight, out_bias))
            attention.append(weight)
        return self.output.localization(torch.stack(outputs, 1), attention=torch.cat(attention, 1))


def _gru_cell(gates, state, weight, bias):
    """Gates of the input (B, 3D), in PyTorch's order (reset, update, new), and the state (B, D) → next state."""
    own = functional.linear(state, weight, bias)
    size = state.shape[-1]
    reset, update = torch.sigmoid(gates[:, :2 * size] + own[:, :2 * size]).chunk(2, -1)
    new = torch.tanh(torch.addcmul(gates[:, 2 * size:], reset, own[:, 2 * size:]))
    return torch.lerp(new, state, update)


class ADRENALINE(nn.Module):
    """Front end, bidirectional GRU encoder with a learned first state, attention-based GRU decoder."""

    def __init__(self, shape, config):
        super().__init__()
        hidden, layers = config.rnn_size, config.nb_rnn_layers
        self.front = FrontEnd(shape, config)
        self.encoder = nn.GRU(self.front.size, hidden, layers, batch_first=True, bidirectional=True)
        self.first_state = nn.Parameter(torch.zeros(2 * layers, 1, hidden))  # layers and directions: f0, b0, f1, b1, …
        self.decoder = Decoder(shape, config)

    def forward(self, features):
        x = self.front(features)
        with torch.autocast(x.device.type, enabled=False):  # many small steps, each fed by the one before: float32
            encoded, last = self.encoder(x.float(), self.first_state.expand(-1, len(x), -1).contiguous())
            states = last.unflatten(0, (-1, 2)).transpose(1, 2)  # (layers, B, 2, H), as in [f0, b0, f1, b1, …]
            return self.decoder(encoded, states.flatten(2).unbind(0))
