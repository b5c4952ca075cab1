"""Which prediction belongs to which reference: distances, the exact answer, and what counts as right.

Conventions
-----------
Matrices are (..., N, N): rows are predictions, columns are references, everywhere. Distances are Euclidean
between direction vectors (x, y, z), so 0 to 2 between unit vectors. An association A holds a 1 where a
prediction and a reference are paired and 0 elsewhere, at most one 1 in a row and in a column.

The exact association pairs as many active predictions with active references as there can be pairs,
min(n_pred, n_ref), at the least sum of distances (the Hungarian algorithm's answer). For small N it is found
for a whole batch at once by going through all N! permutations. Its soft twin weighs every such assignment by
exp(-cost / temperature) and adds them up.
"""

import functools
import itertools

import torch
from scipy.optimize import linear_sum_assignment

from doatools.errors import UserError

INACTIVE = 10.0  # x = y = z of an inactive vector, so far from every direction: 15.8 to 18.8
COST_TOLERANCE = 1e-3  # an assignment this close to the least cost is as right as the least
LARGEST_ENUMERATED = 6  # 6! = 720 permutations; above, one matrix after the other by scipy


def pairwise_distance(pred, ref):
    """Euclidean distances: predictions (..., N, 3), references (..., M, 3) → (..., N, M).

    Where a prediction and a reference coincide the gradient is 0 (PyTorch's choice for the norm of zero),
    finite everywhere.
    """
    return torch.linalg.vector_norm(pred[..., :, None, :] - ref[..., None, :, :], dim=-1)


def active_pairs(pred_active, ref_active):
    """Active rows (..., N) and columns (..., M), bool → pairs that may be associated (..., N, M), bool."""
    return pred_active[..., :, None] & ref_active[..., None, :]


def check_orders(slots, setting, over_time=False):
    """UserError where ``setting`` would take too many orders of the slots, or (``over_time``) pairs of orders."""
    most = LARGEST_ENUMERATED - 1 if over_time else LARGEST_ENUMERATED
    if slots > most:
        raise UserError(f"{setting} goes through all orders of the slots, which is done for up to {most} sources, not "
                        f"max_sources={slots}; loss=dmot association=hungarian takes more")


def optimal_association(cost, active=None):
    """The association of least cost, exact and without gradient: (..., N, N) → zeros and ones (..., N, N).

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
    """The mean association when each assignment has the weight exp(-cost / temperature), without gradient.

    (..., N, N) and bool (..., N, N) → (..., N, N) in [0, 1]. As the temperature (in units of the cost) goes
    to 0 it becomes the exact association. Up to N = LARGEST_ENUMERATED.
    """
    if cost.shape[-1] > LARGEST_ENUMERATED:
        raise UserError(f"soft associations are found for up to {LARGEST_ENUMERATED} sources, "
                        f"not {cost.shape[-1]}; above, use exact ones (--temperature 0)")
    shape = cost.shape
    cost, active = cost.detach().reshape(-1, *shape[-2:]), active.reshape(-1, *shape[-2:])
    weight = torch.softmax(-assignment_costs(cost, active) / temperature, -1)  # (M, N!)
    mean = (weight @ all_permutations(shape[-1], cost.device).flatten(1)).reshape(active.shape) * active
    return mean.clamp(0, 1).to(cost.dtype).reshape(shape)


def order_changes(orders, active):
    """Permutations (K, N), columns of rows, and activity of the columns (B, T, N) → (B, T - 1, K, K): how many
    columns active at both frames have another row when the permutation goes from the first to the second."""
    row_of = orders.argsort(-1)  # (K, N)
    moved = (row_of.unsqueeze(1) != row_of.unsqueeze(0)).to(active.dtype)  # (K, K, N)
    return torch.einsum("btn,jkn->btjk", active[:, 1:] * active[:, :-1], moved)


def cheapest_path(cost, step_cost):
    """The states (B, T) whose summed costs are least, by dynamic programming (Viterbi 1967).

    ``cost`` (B, T, K) of being in a state, ``step_cost`` (B, T - 1, K, K) of going from one to another.
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
    """Total cost of every permutation: (M, N, N) and bool (M, N, N) → (M, N!), of the costs' precision.

    Only active pairs cost anything; a permutation that makes fewer active pairs than possible costs infinity.
    """
    permutations = all_permutations(cost.shape[-1], cost.device).flatten(1).T.to(cost.dtype)  # (N·N, N!)
    total = (cost * active).flatten(1) @ permutations
    pairs = active.to(cost.dtype).flatten(1) @ permutations
    return total.masked_fill(pairs < pairs.amax(-1, keepdim=True), torch.inf)


def assignment_gap(cost, active):
    """How much the second-best association costs more than the best: (M, N, N) → (M,).

    Infinite where there is no second one. Permutations that differ in inactive rows or columns only are the
    same association.
    """
    permutations = all_permutations(cost.shape[-1], cost.device)
    total = assignment_costs(cost, active)
    best = permutations[total.argmin(-1)] * active
    shared = best.flatten(1) @ permutations.flatten(1).T  # pairs a permutation has in common with the best
    same = shared == best.sum((-2, -1))[:, None]
    return total.masked_fill(same, torch.inf).amin(-1) - total.amin(-1)


def excess_cost(association, cost, active):
    """Cost of an association above the least: (M, N, N) each → (M,); infinite where it is no valid one.

    Valid: at most one 1 in a row and in a column, active pairs only, and as many pairs as possible.
    """
    association = association.double()
    best = optimal_association(cost, active)
    valid = ((association.sum(-1) <= 1).all(-1) & (association.sum(-2) <= 1).all(-1)
             & ((association * ~active).sum((-2, -1)) == 0)
             & (association.sum((-2, -1)) == best.sum((-2, -1))))
    excess = ((association - best) * cost).sum((-2, -1))
    return excess.masked_fill(~valid, torch.inf)


def is_right(association, cost, active):
    """Whether each answer is a valid assignment within ``COST_TOLERANCE`` of the least cost: → bool (M,)."""
    return excess_cost(association, cost, active) <= COST_TOLERANCE


def places(n):
    """A number in [0, 1) for each place of the matrix, (n, n): which of two equally good answers to prefer.

    Any two rows, two columns, and the two ways of pairing two rows with two columns differ in it (for n = 2
    to 4 by 0.05 at least), so that a small multiple of it added to the costs breaks every tie between them.
    """
    row = torch.arange(n)[:, None]
    column = torch.arange(n)
    return (0.85 * row + 0.4 * column + 0.4 * row * column) % 1


@functools.cache
def all_permutations(n, device):
    """All permutation matrices, float32 (N!, N, N): Apple's GPUs have no float64."""
    return torch.stack([torch.eye(n, device=device)[list(order)]
                        for order in itertools.permutations(range(n))])


def _scipy_association(cost, active):
    """One matrix (N, N) of any size: the active part by scipy."""
    rows, columns = active.any(-1).nonzero().flatten(), active.any(-2).nonzero().flatten()
    best = torch.zeros_like(cost)
    paired = linear_sum_assignment(cost[rows][:, columns].cpu().numpy())
    best[rows[paired[0]], columns[paired[1]]] = 1
    return best


def sinkhorn_association(distance, active, temperature=0.05, iterations=30):
    """The soft association of entropic optimal transport (Cuturi 2013): (..., N, N) → (..., N, N) in [0, 1].

    Rows and columns of exp(-distance / temperature) are normalised in turn; inactive columns cost the same
    for every row, so that they take the rows that are left over, and are 0 in the answer.
    """
    logits = torch.where(active, -distance / temperature, 0.0)
    for _ in range(iterations):
        logits = logits - logits.logsumexp(-1, keepdim=True)
        logits = logits - logits.logsumexp(-2, keepdim=True)
    return logits.exp() * active
