"""The Hungarian network (Hnet): distances between predictions and references → a soft association.

Conventions
-----------
Input D (..., N, N): Euclidean distances, rows are predictions, columns are references; an inactive reference is at
(10, 10, 10). Output: logits of the association matrix A (..., N, N). A prediction and a reference are associated if
sigmoid(logit) > 0.5; gradients flow back into D. Dims: M matrices (all leading axes flattened), N slots, C channels.

Two architectures (HNETS in doatools/registry.py) with the same interface:

- ``equivariant`` (default): permutation-equivariant layers, in which each element of the matrix sees itself and the
means
  of its row, its column and the whole matrix (Hartford et al. 2018, "Deep Models of Interactions Across Sets").
  Permuting rows or columns of D permutes A, except at exact ties: these are broken by the position in the matrix, a
  further input.
- ``gru``: the one published with Adavanne et al. 2021, "Differentiable Tracking-Based Training of Deep Learning Sound
  Source Localizers": a GRU over the rows and self-attention. Its published weights load.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from doatools.errors import UserError
from doatools.match.associations import INACTIVE, pairwise_distance, penalised, places
from doatools.registry import HNETS
from doatools.train import checkpoint

GRU_SIZE = 128
EARLIER_NAMES = {"exchangeable": "equivariant"}  # of architectures, in files of the first edition


class EquivariantLayer(nn.Module):
    """(M, N, N, C_in) → (M, N, N, C_out): a linear map of each element, its row, its column and the whole.

    Rows and columns share weights: predictions and references are treated alike.
    """

    def __init__(self, size_in, size_out):
        super().__init__()
        self.element = nn.Linear(size_in, size_out)
        self.line = nn.Linear(size_in, size_out, bias=False)
        self.whole = nn.Linear(size_in, size_out, bias=False)

    def forward(self, x):
        n = x.shape[1]
        rows, columns = x.mean(2), x.mean(1)  # (M, N, C_in) each
        lines = self.line(torch.cat([rows, columns], 1))  # (M, 2 N, C_out)
        rows = lines[:, :n] + self.whole(rows.mean(1, keepdim=True))
        return self.element(x) + rows[:, :, None] + lines[:, None, n:]


class EquivariantNet(nn.Module):
    """Residual permutation-equivariant layers: D (M, N, N) → logits (M, N, N)."""

    def __init__(self, max_sources, channels=64, layers=4):
        super().__init__()
        self.register_buffer("places", places(max_sources))
        self.first = EquivariantLayer(4, channels)
        self.layers = nn.ModuleList(EquivariantLayer(channels, channels) for _ in range(layers - 1))
        self.last = nn.Linear(channels, 1)

    def inputs(self, distance):
        """D (M, N, N) → (M, N, N, 4): the distance, whether it is out of reach, whether it is zero, the position.

        Distances of active pairs are below 3 and pass unchanged. Two inactive vectors at (10, 10, 10) are at distance
        zero; directions closer than 0.02 (about 1°) need not be distinguished from that.
        """
        return torch.stack([distance.clamp(max=4), (distance - 3).clamp(0, 1), torch.exp(-distance / 0.02),
                            self.places.expand_as(distance)], -1)

    def forward(self, distance):
        x = F.silu(self.first(self.inputs(distance)))
        for layer in self.layers:
            x = x + F.silu(layer(x))
        return self.last(x).squeeze(-1)


class RowAttention(nn.Module):
    """Single-head self-attention over the rows, (M, N, C) → (M, N, C): unscaled softmax, no biases."""

    def __init__(self, size):
        super().__init__()
        self.conv_Q = nn.Conv1d(size, size, 1, bias=False)
        self.conv_K = nn.Conv1d(size, size, 1, bias=False)
        self.conv_V = nn.Conv1d(size, size, 1, bias=False)

    def forward(self, x):
        x = x.transpose(1, 2)  # (M, C, N)
        query, key, value = self.conv_Q(x), self.conv_K(x), self.conv_V(x)
        weight = torch.softmax(query.transpose(1, 2) @ key, -1)  # (M, N queries, N keys)
        return weight @ value.transpose(1, 2)


class GruNet(nn.Module):
    """The published network, with the published names of its weights: D (M, N, N) → logits (M, N, N)."""

    def __init__(self, max_sources):
        super().__init__()
        self.gru = nn.GRU(max_sources, GRU_SIZE, batch_first=True)
        self.attn = RowAttention(GRU_SIZE)
        self.fc1 = nn.Linear(GRU_SIZE, max_sources)

    def forward(self, distance):
        # cuDNN refuses the backward pass of a GRU in eval mode, which is how a frozen Hnet is used.
        with torch.backends.cudnn.flags(enabled=self.training):
            rows, _ = self.gru(distance)  # (M, N, 128)
        return self.fc1(torch.tanh(self.attn(rows)))


class HNet(nn.Module):
    """Distances D (..., N, N) → logits of the association (..., N, N), always in float32.

    Parameters
    ----------
    max_sources : N
    arch : of HNETS
    options : of the architecture (channels and layers of 'equivariant')
    """

    def __init__(self, max_sources, arch="equivariant", **options):
        super().__init__()
        self.max_sources, self.arch, self.options = max_sources, arch, options
        self.net = HNETS[arch](max_sources, **options)

    def forward(self, distance):
        n = self.max_sources
        if distance.shape[-2:] != (n, n):
            raise ValueError(f"this Hnet takes distances (..., {n}, {n}), not {tuple(distance.shape)}")
        with torch.autocast(distance.device.type, enabled=False):
            logits = self.net(distance.float().reshape(-1, n, n))  # (M, N, N)
        return logits.reshape(distance.shape)


def marginals(logits):
    """Matrices (..., N, N) → row maxima (..., N) over the columns, column maxima (..., N) over the rows."""
    return logits.amax(-1), logits.amax(-2)


def hnet_loss(logits, target):
    """Cross-entropies of association, row maxima and column maxima, (M, N, N) each → scalar.

    As published, except that it is the mean over elements rather than the sum. Row maxima and row sums of an exact
    association are the same.
    """
    pairs = zip((logits, *marginals(logits)), (target, *marginals(target)))
    return sum(F.binary_cross_entropy_with_logits(found, wanted) for found, wanted in pairs)


def save_hnet(path, model, scores=None):
    """Write weights, architecture and scores (plain types) to one file, from which ``load_hnet`` rebuilds the
    network."""
    weights = {name: value.detach().cpu().clone() for name, value in model.net.state_dict().items()}
    checkpoint.write(path, {"kind": "hnet", "arch": model.arch, "max_sources": model.max_sources,
                            "options": dict(model.options), "weights": weights, "scores": scores or {}})


def load_hnet(path, max_sources):
    """A frozen Hnet (eval mode, no gradient to its parameters) from a file.

    Parameters
    ----------
    path : file of ``save_hnet``, or a bare state dict with the published names; None for the shipped
        models/hnet_N.pt
    max_sources : N, which the network must have been trained for

    Raises
    ------
    UserError
        The file is missing, is not an Hnet, or is one for another N.
    """
    path = Path(__file__).parent / "models" / f"hnet_{max_sources}.pt" if path is None else Path(path)
    remedy = f"train one with: python3 train_hnet.py --max-doas {max_sources}"
    if not path.is_file():
        raise UserError(f"no Hungarian network at {path}; {remedy}")
    try:
        model = _rebuild(checkpoint.read(path))
    except OSError:
        raise
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    except Exception as error:
        raise UserError(f"{path} holds no Hungarian network ({type(error).__name__}); {remedy}") from error
    if model.max_sources != max_sources:
        raise UserError(f"{path} is a Hungarian network for {model.max_sources} sources, not {max_sources}; "
                        f"{remedy}")
    return model.eval().requires_grad_(False)


class HnetAssociation(nn.Module):
    """The soft association in [0, 1] of the frozen Hungarian network, whose input has inactive references at
    (10, 10, 10)."""

    def __init__(self, config, slots):
        super().__init__()
        self.hnet = load_hnet(config.hnet_weights or None, slots)

    def forward(self, doa, penalty, target):
        references = torch.where(target.activity.unsqueeze(-1) > 0, target.doa, INACTIVE)
        return torch.sigmoid(self.hnet(penalised(pairwise_distance(doa, references), penalty)))


def _rebuild(stored):
    """Content of a file → HNet; a bare state dict is one of the published architecture."""
    if "fc1.bias" in stored:
        stored = {"arch": "gru", "max_sources": len(stored["fc1.bias"]), "options": {}, "weights": stored}
    arch = EARLIER_NAMES.get(stored["arch"], stored["arch"])
    model = HNet(stored["max_sources"], arch, **stored["options"])
    model.net.load_state_dict(stored["weights"])
    return model
