"""Associations of predictions and references as tensors: distances, exact and soft solutions, and their quality.

Conventions
-----------
Matrices are (..., N, N): rows are predictions, columns are references. Distances are Euclidean, between direction
vectors (x, y, z), so from 0 to 2 between unit vectors. An association A is 1 where a prediction and a reference are
paired and 0 elsewhere, with at most one 1 per row and column.

The exact association pairs active predictions with active references, min(n_pred, n_ref) of them, at the least sum of
distances (the solution of the Hungarian algorithm). For small N it is found for a whole batch by enumerating all N!
permutations. Its soft twin is the mean of all such assignments, weighted by exp(-cost / temperature).
"""

import functools
import itertools

import torch
from scipy.optimize import linear_sum_assignment

from doatools.errors import UserError

INACTIVE = 10.0  # x = y = z of an inactive vector in the input of Hnet, 16.3 to 18.4 from any direction
COST_TOLERANCE = 1e-3  # an assignment this close to the least cost counts as right
LARGEST_ENUMERATED = 6  # 6! = 720 permutations; with more slots, scipy solves one matrix after the other


def pairwise_distance(pred, ref):
    """Euclidean distances: predictions (..., N, 3), references (..., M, 3) → (..., N, M).

    The gradient is finite everywhere; it is 0 where a prediction and a reference coincide (PyTorch's choice for the
    norm of zero).
    """
    return torch.linalg.vector_norm(pred[..., :, None, :] - ref[..., None, :, :], dim=-1)


def penalised(distance, penalty):
    """Distances (B, T, N, N), those of each slot increased by its ``penalty`` (B, T, N), if any."""
    return distance if penalty is None else distance + penalty.unsqueeze(-1)


def active_pairs(pred_active, ref_active):
    """Active rows (..., N) and columns (..., M), bool → pairs that may be associated (..., N, M), bool."""
    return pred_active[..., :, None] & ref_active[..., None, :]


def check_orders(slots, setting, over_time=False):
    """UserError if ``setting`` would enumerate too many orders of the slots, or (``over_time``) pairs of orders."""
    most = LARGEST_ENUMERATED - 1 if over_time else LARGEST_ENUMERATED
    if slots > most:
        raise UserError(f"{setting} enumerates all orders of the slots, which is possible for up to {most} sources, "
                        f"not max_sources={slots}; loss=dmot association=hungarian allows more")


def optimal_association(cost, active=None):
    """The association of least cost, exact and without a gradient: (..., N, N) → zeros and ones (..., N, N).

    Parameters
    ----------
    cost : tensor (..., N, N), the cost of pairing prediction (row) and reference (column)
    active : bool tensor (..., N, N), pairs that may be associated (see ``active_pairs``); None for all
    """
    shape = cost.shape
    active = torch.ones_like(cost, dtype=torch.bool) if active is None else active.expand(shape)
    cost, active = cost.detach().reshape(-1, *shape[-2:]), active.reshape(-1, *shape[-2:])
    if shape[-1] > LARGEST_ENUMERATED:
        best = torch.stack([_scipy_association(c, a) for c, a in zip(cost, active)])
    else:
        best = all_permutations(shape[-1], cost.device)[assignment_costs(cost, active).argmin(-1)] * active
    return best.to(cost.dtype).reshape(shape)


def soft_association(cost, active, temperature):
    """The mean of all assignments, weighted by exp(-cost / temperature), without a gradient.

    (..., N, N) and bool (..., N, N) → (..., N, N) in [0, 1]. As the temperature (in units of the cost) approaches 0, it
    approaches the exact association. Up to N = LARGEST_ENUMERATED.
    """
    if cost.shape[-1] > LARGEST_ENUMERATED:
        raise UserError(f"soft associations are possible for up to {LARGEST_ENUMERATED} sources, not {cost.shape[-1]}; "
                        "for more, use exact ones (--temperature 0)")
    shape = cost.shape
    cost, active = cost.detach().reshape(-1, *shape[-2:]), active.reshape(-1, *shape[-2:])
    weight = torch.softmax(-assignment_costs(cost, active) / temperature, -1)  # (M, N!)
    mean = (weight @ all_permutations(shape[-1], cost.device).flatten(1)).reshape(active.shape) * active
    return mean.clamp(0, 1).to(cost.dtype).reshape(shape)


def order_changes(orders, active):
    """Permutations (K, N), columns of rows, and activity of columns (B, T, N) → (B, T - 1, K, K): the number of columns
    active in both frames whose row changes when the first permutation is followed by the second."""
    row_of = orders.argsort(-1)  # (K, N)
    moved = (row_of.unsqueeze(1) != row_of.unsqueeze(0)).to(active.dtype)  # (K, K, N)
    return torch.einsum("btn,jkn->btjk", active[:, 1:] * active[:, :-1], moved)


def cheapest_path(cost, step_cost):
    """The path of states (B, T) of least total cost, by dynamic programming (Viterbi 1967).

    ``cost`` (B, T, K) of each state, ``step_cost`` (B, T - 1, K, K) of each transition.
    """
    total, back = cost[:, 0], []
    for t in range(1, cost.shape[1]):
        total, before = (total.unsqueeze(-1) + step_cost[:, t - 1]).min(1)  # (B, K)
        total = total + cost[:, t]
        back.append(before)
    path = [total.argmin(-1)]
    for before in reversed(back):
        path.append(before.gather(-1, path[-1].unsqueeze(-1)).squeeze(-1))
    return torch.stack(path[::-1], 1)


def assignment_costs(cost, active):
    """Total cost of each permutation: (M, N, N) and bool (M, N, N) → (M, N!), in the precision of the costs.

    Only active pairs have a cost; a permutation with fewer active pairs than possible costs infinity.
    """
    permutations = all_permutations(cost.shape[-1], cost.device).flatten(1).T.to(cost.dtype)  # (N·N, N!)
    total = (cost * active).flatten(1) @ permutations
    pairs = active.to(cost.dtype).flatten(1) @ permutations
    return total.masked_fill(pairs < pairs.amax(-1, keepdim=True), torch.inf)


def assignment_gap(cost, active):
    """Cost of the second-best association minus that of the best: (M, N, N) → (M,); infinite if there is only one.

    Permutations that differ only in inactive rows or columns are the same association.
    """
    permutations = all_permutations(cost.shape[-1], cost.device)
    total = assignment_costs(cost, active)
    best = permutations[total.argmin(-1)] * active
    shared = best.flatten(1) @ permutations.flatten(1).T  # pairs a permutation has in common with the best
    same = shared == best.sum((-2, -1))[:, None]
    return total.masked_fill(same, torch.inf).amin(-1) - total.amin(-1)


def excess_cost(association, cost, active):
    """Cost of an association minus the least cost: (M, N, N) each → (M,); infinite if the association is not valid.

    A valid one has at most one 1 per row and column, active pairs only, and as many of them as possible.
    """
    association = association.double()
    best = optimal_association(cost, active)
    valid = ((association.sum(-1) <= 1).all(-1) & (association.sum(-2) <= 1).all(-1)
             & ((association * ~active).sum((-2, -1)) == 0)
             & (association.sum((-2, -1)) == best.sum((-2, -1))))
    excess = ((association - best) * cost).sum((-2, -1))
    return excess.masked_fill(~valid, torch.inf)


def is_right(association, cost, active):
    """Whether each association is valid and within ``COST_TOLERANCE`` of the least cost, bool (M,)."""
    return excess_cost(association, cost, active) <= COST_TOLERANCE


def places(n):
    """A number in [0, 1) for each position in the matrix, (n, n), which decides between equally good associations.

    It differs between any two rows, any two columns, and the two ways of pairing two rows with two columns (by at least
    0.05 for n = 2 to 4), so that a small multiple of it, added to the costs, breaks any tie between them.
    """
    row = torch.arange(n)[:, None]
    column = torch.arange(n)
    return (0.85 * row + 0.4 * column + 0.4 * row * column) % 1


@functools.cache
def all_permutations(n, device):
    """All permutation matrices (N!, N, N), float32: Apple's GPUs have no float64."""
    return torch.stack([torch.eye(n, device=device)[list(order)]
                        for order in itertools.permutations(range(n))])


def _scipy_association(cost, active):
    """One matrix (N, N) of any size; scipy solves its active part."""
    rows, columns = active.any(-1).nonzero().flatten(), active.any(-2).nonzero().flatten()
    best = torch.zeros_like(cost)
    paired = linear_sum_assignment(cost[rows][:, columns].cpu().numpy())
    best[rows[paired[0]], columns[paired[1]]] = 1
    return best


def sinkhorn_association(distance, active, temperature=0.05, iterations=30):
    """The soft association of entropic optimal transport (Cuturi 2013): (..., N, N) → (..., N, N) in [0, 1].

    Rows and columns of exp(-distance / temperature) are normalised in turn. Inactive columns cost the same for every
    row, so they take the rows that are left over; they are 0 in the result.
    """
    logits = torch.where(active, -distance / temperature, 0.0)
    for _ in range(iterations):
        logits = logits - logits.logsumexp(-1, keepdim=True)
        logits = logits - logits.logsumexp(-2, keepdim=True)
    return logits.exp() * active
