"""Pairs of (distance matrix, association) from which a Hungarian network learns.

Conventions
-----------
Distances and associations are (M, N, N): rows are predictions, columns are references. A *cell* is a pair
(n_ref, n_pred) of numbers of active vectors, each 0 to N. Angles are in degrees.

Three sources of pairs:

- ``published`` with directions on a ``grid``: the distribution of Adavanne et al. 2021 ("Differentiable
  Tracking-Based Training of Deep Learning Sound Source Localizers"). Angular resolution r from RESOLUTIONS,
  azimuths from range(-180, 180, r) and elevations from range(-90, 91, r), none twice within a set; inactive
  vectors of both sets are at (10, 10, 10) in half of the examples, far away at random in the other half; rows or
  columns are shuffled.
- ``published`` with directions uniform on the ``sphere``: otherwise the same.
- ``slots``: the input of the network within DOAnet's loss. All N predictions are unit vectors, 0 to N references are
  active, the others are at (10, 10, 10). Predictions are anywhere, or near the references; a cost between 0 and 1 per
  prediction may be added to the distances (an inactive prediction is a worse partner).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from doatools.errors import UserError
from doatools.files import in_memory, replacing
from doatools.match.associations import INACTIVE, active_pairs, optimal_association, pairwise_distance
from doatools.npy import read_npz
from doatools.spatial.geometry import unit_vectors

RESOLUTIONS = (1, 2, 3, 4, 5, 10, 15, 20, 30)  # degrees
# Type of each array in a file, and whether it is (M, N, N) rather than (M,).
KINDS = {"distance": ("float32", True), "association": ("float32", True), "active": ("bool", True),
         "n_ref": ("int64", False), "n_pred": ("int64", False)}
LARGEST_ON_GRID = 7  # a resolution of 30° has seven elevations


class Pairs(NamedTuple):
    """Examples along the first axis."""

    distance: torch.Tensor  # float32 (M, N, N)
    association: torch.Tensor  # float32 (M, N, N), zeros and ones
    active: torch.Tensor  # bool (M, N, N), pairs that may be associated
    n_ref: torch.Tensor  # int64 (M,)
    n_pred: torch.Tensor  # int64 (M,)

    def take(self, index):
        """The examples of an index, slice or mask → Pairs."""
        return Pairs(*(part[index] for part in self))


def joined(parts):
    """Several Pairs as one."""
    return Pairs(*(torch.cat(part) for part in zip(*parts)))


def save_pairs(path, pairs):
    """Pairs → .npz with one array per field: distance, association, active, n_ref, n_pred."""
    arrays = {name: part.numpy() for name, part in pairs._asdict().items()}
    with replacing(path) as temporary:  # as bytes, as NumPy would add .npz to another suffix
        temporary.write_bytes(in_memory(lambda file: np.savez(file, **arrays)))


def load_pairs(path, max_doas):
    """.npz of ``save_pairs`` → Pairs; UserError if it is none, or not for ``max_doas``."""
    path = Path(path)
    remedy = f"make it with: python3 generate_hnet_training_data.py --max-doas {max_doas} --out {path}"
    if not path.is_file():
        raise UserError(f"no training pairs at {path}; {remedy}")
    found = read_npz(path, Pairs._fields, remedy)
    count, n = len(found[0]) if found[0].ndim else 0, found[0].shape[-1] if found[0].ndim else 0
    for name, array in zip(Pairs._fields, found):
        kind, wide = KINDS[name]
        if array.dtype != kind or array.shape != ((count, n, n) if wide else (count,)):
            raise UserError(f"{path}: '{name}' is an array of {array.shape} {array.dtype}, not of training pairs; "
                            f"{remedy}")
    if n != max_doas:
        raise UserError(f"{path} is for {n} sources, not {max_doas}; {remedy}")
    if not np.isfinite(found[0]).all():
        raise UserError(f"{path}: 'distance' holds values that are not finite numbers; {remedy}")
    return Pairs(*map(torch.from_numpy, found))


def draw_cells(count, max_doas, balance, generator):
    """Numbers of active vectors of ``count`` examples → n_ref (count,), n_pred (count,).

    balance : 'cells', every (n_ref, n_pred) equally often; or 'pairs', every number of associated pairs
        min(n_ref, n_pred) equally often, distributed evenly over its cells (as published).
    With 'cells', the counts of cells differ by at most one; the order is random.
    """
    numbers = torch.arange(max_doas + 1)
    cells = torch.cartesian_prod(numbers, numbers)  # (cells, 2)
    share = torch.ones(len(cells), dtype=torch.float64)
    if balance == "pairs":
        smaller = cells.amin(-1)
        share = 1 / torch.bincount(smaller)[smaller]
    edges = (share.cumsum(0) / share.sum() * count).round().long()  # where each cell's examples end
    chosen = torch.searchsorted(edges, torch.arange(count), right=True)
    chosen = chosen[torch.randperm(count, generator=generator)]
    return cells[chosen, 0], cells[chosen, 1]


def draw_published(count, max_doas, generator, directions="grid", balance="cells"):
    """``count`` pairs of the published distribution → Pairs.

    directions : 'grid' or 'sphere'; balance : see ``draw_cells``
    """
    if directions == "grid" and max_doas > LARGEST_ON_GRID:
        raise UserError(f"the coarsest grid (30°) has {LARGEST_ON_GRID} elevations, too few for {max_doas} sources: "
                        "use --directions sphere")
    n_ref, n_pred = draw_cells(count, max_doas, balance, generator)
    if directions == "grid":
        resolution = torch.tensor(RESOLUTIONS)[torch.randint(len(RESOLUTIONS), (count,), generator=generator)]
        ref, pred = (_grid_directions(resolution, max_doas, generator) for _ in range(2))
    else:
        ref, pred = (random_directions((count, max_doas), generator) for _ in range(2))
    far = torch.rand(count, 1, 1, generator=generator) < 0.5
    slots = torch.arange(max_doas)
    ref_active, pred_active = slots < n_ref[:, None], slots < n_pred[:, None]
    ref, pred = (torch.where(active[..., None], vectors, _inactive_vectors(vectors.shape, far, generator))
                 for vectors, active in ((ref, ref_active), (pred, pred_active)))
    order = torch.rand(count, max_doas, generator=generator).argsort(-1)
    rows = torch.rand(count, 1, generator=generator) < 0.5
    ref, ref_active = _reordered(ref, ref_active, torch.where(rows, slots, order))
    pred, pred_active = _reordered(pred, pred_active, torch.where(rows, order, slots))
    return _pairs(pairwise_distance(pred, ref), pred_active, ref_active)


def draw_slots(count, max_doas, generator, near=0.0, penalty=0.0):
    """``count`` pairs of N unit predictions against 0 to N active references → Pairs.

    near : share of examples whose predictions are the references with errors of random size, and whose references are
        close to each other
    penalty : share of examples with a cost from 0 to 1 added to each row
    """
    shape = (count, max_doas)
    ref, pred = random_directions(shape, generator), random_directions(shape, generator)
    is_near = torch.rand(count, 1, 1, generator=generator) < near
    ref = torch.where(is_near, _scattered(ref[:, :1].expand_as(ref), generator), ref)
    pred = torch.where(is_near, _scattered(ref, generator), pred)
    n_ref = torch.randint(max_doas + 1, (count,), generator=generator)
    rank = torch.rand(shape, generator=generator).argsort(-1)
    ref_active = rank < n_ref[:, None]
    ref = torch.where(ref_active[..., None], ref, INACTIVE)
    offset = torch.rand(count, max_doas, 1, generator=generator)
    offset = offset * (torch.rand(count, 1, 1, generator=generator) < penalty)
    return _pairs(pairwise_distance(pred, ref) + offset, torch.ones(shape, dtype=torch.bool), ref_active)


def random_directions(shape, generator):
    """Unit vectors (*shape, 3), uniform on the sphere."""
    return torch.nn.functional.normalize(torch.randn(*shape, 3, generator=generator), dim=-1)


def _pairs(distance, pred_active, ref_active):
    """Distances (M, N, N) and active flags (M, N) → Pairs with the exact association."""
    active = active_pairs(pred_active, ref_active)
    association = optimal_association(distance, active)
    return Pairs(distance, association, active, ref_active.sum(-1), pred_active.sum(-1))


def _reordered(vectors, active, order):
    """Vectors (M, N, 3) and flags (M, N) in the order (M, N)."""
    return vectors.gather(1, order[..., None].expand_as(vectors)), active.gather(1, order)


def _scattered(vectors, generator):
    """Unit vectors (M, N, 3) with an error of about 0.5° to 60°, one size per example."""
    size = 0.01 * 100 ** torch.rand(len(vectors), 1, 1, generator=generator)
    noise = torch.randn(vectors.shape, generator=generator) * size
    return torch.nn.functional.normalize(vectors + noise, dim=-1)


def _grid_directions(resolution, max_doas, generator):
    """Resolutions (M,) → unit vectors (M, N, 3), no azimuth and no elevation twice in a set."""
    azimuth = resolution[:, None] * _distinct(360 // resolution, max_doas, generator) - 180
    elevation = resolution[:, None] * _distinct(180 // resolution + 1, max_doas, generator) - 90
    return torch.from_numpy(unit_vectors(azimuth.numpy(), elevation.numpy())).float()


def _distinct(sizes, n, generator):
    """``n`` different integers from range(size) for each of the sizes (M,) → (M, n), in random order.

    Rows with equal numbers are drawn again, so that all ordered choices are equally likely.
    """
    drawn = torch.empty(len(sizes), n, dtype=torch.long)
    again = torch.arange(len(sizes))
    while len(again):
        uniform = torch.rand(len(again), n, generator=generator, dtype=torch.float64)
        drawn[again] = (uniform * sizes[again, None]).long()
        again = again[(drawn[again].sort(-1).values.diff() == 0).any(-1)]
    return drawn


def _inactive_vectors(shape, far, generator):
    """Vectors of inactive slots: all 10, or where ``far``, uniform in [-100, 100] outside of [-1, 1]."""
    random = torch.rand(shape, generator=generator) * 200 - 100
    return torch.where(far & (random.abs() > 1), random, INACTIVE)
