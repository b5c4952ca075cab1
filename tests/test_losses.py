"""Losses on associations and tracks small enough to compute by hand."""

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.plain_loss import PlainHnet, plain_dmot
from doanet_parameters import get_params
from doatools.errors import UserError
from doatools.match.associations import (
    cheapest_path,
    optimal_association,
    order_changes,
    pairwise_distance,
    sinkhorn_association,
)
from doatools.registry import ASSOCIATIONS, LOSSES
from doatools.spatial.geometry import unit_vectors
from doatools.train.losses import build_criterion, dmota, dmotp, great_circle, switches
from doatools.types import Localization, Target
from hnet_model import load_hnet

X, Y, Z = torch.eye(3)


def loss_of(kind, **overrides):
    """A loss of LOSSES with some parameters changed."""
    return build_criterion(get_params(loss=kind, **overrides))


def dmot(**overrides):
    """dMOT with the hard twin of Hnet, the exact assignment, unless another is asked for."""
    return loss_of("dmot", **{"association": "hungarian", **overrides})


def test_sinkhorn_is_a_soft_twin_of_the_exact_assignment():
    target = track((X, Y, None), (Z, None, None), (None, None, None))
    doa = torch.stack([Z + 0.2 * X, Y, X + 0.3 * Z]).expand(1, 3, 3, 3).clone().requires_grad_()
    distance, active = pairwise_distance(doa, target.doa), (target.activity.unsqueeze(-2) > 0).expand(1, 3, 3, 3)
    soft = sinkhorn_association(distance, active, temperature=0.01)
    assert torch.allclose(soft, optimal_association(distance, active), atol=0.05)
    soft.square().sum().backward()
    assert torch.isfinite(doa.grad).all() and doa.grad.abs().sum() > 0


def track(*frames):
    """Frames of slots of vectors, None where inactive → Target with B = 1."""
    doa = torch.stack([torch.stack([torch.zeros(3) if v is None else v for v in frame]) for frame in frames])
    active = torch.tensor([[float(v is not None) for v in frame] for frame in frames])
    return Target(doa[None], active[None])


def test_dmotp_is_the_count_weighted_mean_distance():
    association = torch.tensor([[[[1.0, 0], [0, 1]], [[0, 1], [0, 0]]]])  # (1, 2, 2, 2)
    distance = torch.tensor([[[[0.1, 9], [9, 0.3]], [[9, 0.5], [9, 9]]]])
    # frame 1: distance 0.1 + 0.3 over 2 pairs; frame 2: 0.5 over 1 pair; 3 pairs in all
    assert dmotp(distance, association) == pytest.approx((0.4 * 2 + 0.5 * 1) / 3)


def test_dmotp_of_no_association_is_zero_with_a_finite_gradient():
    distance = torch.ones(1, 2, 2, 2, requires_grad=True)
    value = dmotp(distance, distance * 0)
    value.backward()
    assert value == 0 and torch.isfinite(distance.grad).all()


def test_dmota_counts_by_hand():
    association = torch.tensor([[[[1.0, 0], [0, 1]], [[0.0, 1], [0, 0]], [[0.0, 0], [0, 0]]]])
    active = torch.tensor([[[1.0, 1], [1, 1], [0, 0]]])
    terms = dmota(association, active, ids_weight=2.0)
    # frames: 2 of 2, 1 of 2, 0 of 0 found; in frame 2 row 1 takes column 2, which row 2 had: one switch
    assert terms["misses"] == 1 and terms["false_positives"] == 0 and terms["switches"] == 1
    assert terms["dmota"] == pytest.approx((0 + 1 + 2 * 1) / 3)


def test_false_positives_are_soft_predictions_above_the_references():
    association = torch.tensor([[[[0.9, 0.0], [0.8, 0.0]]]])  # two rows claim one reference
    assert dmota(association, torch.tensor([[[1.0, 0.0]]]), 1.0)["false_positives"] == pytest.approx(0.7)


def test_switches_start_at_zero_in_each_sequence_and_may_leave_births_out():
    appears = torch.tensor([[[[0.0, 0], [0, 0]], [[1.0, 0], [0, 0]]]])
    active = torch.tensor([[[0.0, 0], [1, 0]]])
    assert switches(appears, active, "published").tolist() == [[0, 1]]
    assert switches(appears, active, "switch").tolist() == [[0, 0]]
    swapped = torch.tensor([[[[1.0, 0], [0, 0]], [[0.0, 0], [1, 0]]]])
    assert switches(swapped, torch.ones(1, 2, 2), "switch").tolist() == [[0, 1]]
    two_sequences = torch.cat([appears.flip(1), appears])  # a border between them is no switch
    assert switches(two_sequences, torch.cat([active.flip(1), active]), "published").tolist() == [[0, 0], [0, 1]]


def test_dmot_of_perfect_tracks_is_zero_whatever_the_slots():
    target = track((X, Y), (X, Y), (X, None))
    for order in itertools.permutations((0, 1)):
        doa = torch.where(target.activity[..., None] > 0, target.doa, Z)[:, :, list(order)]
        loss = dmot()(Localization(doa), target)
        assert loss["loss"] == pytest.approx(0, abs=1e-4)


def test_dmot_activity_follows_the_association():
    target = track((X, None), (X, None))
    doa = torch.stack([X, Z]).expand(1, 2, 2, 3)
    right, wrong = (torch.tensor([20.0, -20.0]) * sign for sign in (1, -1))
    criterion = dmot()
    assert criterion(Localization(doa, right.expand(1, 2, 2)), target)["activity"] == pytest.approx(0, abs=1e-6)
    assert criterion(Localization(doa, wrong.expand(1, 2, 2)), target)["activity"] == pytest.approx(20)


def test_dmot_with_the_shipped_hnet_pulls_predictions_to_references():
    criterion = loss_of("dmot")
    assert not any(p.requires_grad for p in criterion.parameters())
    target = track((X, Y), (X, None))
    noise = 0.3 * torch.randn(1, 2, 2, 3, generator=torch.manual_seed(0))
    start = torch.nn.functional.normalize(target.doa + noise, dim=-1)
    doa = start.clone().requires_grad_()
    before = criterion(Localization(doa), target)["loss"]
    before.backward()
    after = criterion(Localization(torch.nn.functional.normalize(start - 0.002 * doa.grad, dim=-1)), target)["loss"]
    assert torch.isfinite(doa.grad).all() and after < before


def test_mse_is_the_mean_over_components_with_inactive_slots_pointing_up():
    target = track((X, None))
    assert loss_of("mse")(Localization(torch.stack([X, Z])[None, None]), target)["loss"] == 0
    assert loss_of("mse")(Localization(torch.stack([Y, Z])[None, None]), target)["loss"] == pytest.approx(2 / 6)


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("level", ["frame", "sequence", "track"])
def test_pit_of_every_permutation_is_zero(slots, level):
    generator = torch.manual_seed(slots)
    doa = torch.nn.functional.normalize(torch.randn(2, 5, slots, 3, generator=generator), dim=-1)
    activity = (torch.rand(2, 5, slots, generator=generator) > 0.4).float()
    target = Target(doa * activity[..., None], activity)
    for order in itertools.permutations(range(slots)):
        localization = Localization(doa[:, :, list(order)], (activity[:, :, list(order)] - 0.5) * 200)
        criterion = loss_of("pit", pit_level=level, max_sources=slots)
        assert criterion(localization, target)["loss"] == pytest.approx(0, abs=1e-6)


def test_sequence_pit_sees_a_slot_change_that_frame_pit_forgives():
    target = track((X, Y), (X, Y))
    changed = Localization(torch.stack([torch.stack([X, Y]), torch.stack([Y, X])])[None])
    frame, sequence, plain = (loss_of("pit", **words) for words in (
        {"pit_level": "frame"}, {"pit_level": "sequence"}, {"pit_level": "sequence", "pit_distance": "plain"}))
    assert frame(changed, target)["loss"] == pytest.approx(0, abs=1e-6)
    # one of two frames is wrong in both slots, squared distance of X and Y is 2: 20 · (2 + 2) / 4 references
    assert sequence(changed, target)["loss"] == pytest.approx(20 * 4 / 4)
    assert plain(changed, target)["loss"] == pytest.approx(20 * 2 * 2**0.5 / 4)


def test_track_pit_charges_a_slot_change_of_a_source_that_goes_on_and_no_other():
    cheap, dear = (loss_of("pit", pit_level="track", switch_cost=cost) for cost in (3.0, 50.0))
    changed = torch.stack([torch.stack([X, Y]), torch.stack([Y, X]), torch.stack([Y, X])])[None]
    # X goes on from frame 1 to 2: to stay in its slot costs 20 · 2 in either frame, to change costs 3
    goes_on = track((X, None), (X, None), (X, None))
    assert cheap(Localization(changed), goes_on)["loss"] == pytest.approx(0, abs=1e-6)
    # now the one wrong frame at the start is borne: 20 · 2 over 3 references
    assert dear(Localization(changed), goes_on)["loss"] == pytest.approx(40 / 3)
    born = track((X, None), (None, None), (X, None))
    assert dear(Localization(changed), born)["loss"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("slots", [2, 3])
def test_track_pit_finds_the_cheapest_of_all_paths(slots):
    generator = torch.manual_seed(slots)
    orders = torch.tensor(list(itertools.permutations(range(slots))))
    cost = torch.rand(1, 4, len(orders), generator=generator)
    active = (torch.rand(1, 4, slots, generator=generator) > 0.3).float()
    step = 0.3 * order_changes(orders, active)

    def total(path):
        """A path's cost by its definition: each reference active before and now that changed its row costs 0.3."""
        changes = sum(float(active[0, t, j] * active[0, t + 1, j]
                            * (list(orders[path[t]]).index(j) != list(orders[path[t + 1]]).index(j)))
                      for t in range(3) for j in range(slots))
        return sum(float(cost[0, t, k]) for t, k in enumerate(path)) + 0.3 * changes

    best = min(itertools.product(range(len(orders)), repeat=4), key=total)
    assert tuple(cheapest_path(cost, step)[0].tolist()) == best


def test_association_that_sees_activity_prefers_the_slot_that_says_it_is_active():
    target = track((X, None))
    doa = torch.nn.functional.normalize(torch.stack([X + 0.1 * Y, X]), dim=-1)[None, None]
    localization = Localization(doa, torch.tensor([[[9.0, -9.0]]]))
    for sees, row in (("distance", 1), ("activity", 0)):
        _, association = dmot(association_sees=sees).pair(localization, target)
        assert association[0, 0, row, 0] == 1 and association.sum() == 1


@pytest.mark.parametrize("loss", ["pit", "dmot"])
def test_gated_activity_asks_a_slot_that_is_far_off_to_be_silent(loss):
    target = track((X, None), (X, None), (X, None))
    tilted = torch.nn.functional.normalize(X + 0.2 * Y, dim=-1)  # 11 degrees off
    doa = torch.stack([torch.stack(frame) for frame in ((tilted, -X), (Y, -X), (-X, -X))])[None]
    logits = torch.tensor([[[9.0, -9.0], [-9.0, -9.0], [-9.0, -9.0]]])  # active in the first frame only
    for gate, wrong in ((20.0, 0), (180.0, 2)):  # two frames whose source wants an active slot, or none
        criterion = loss_of(loss, activity_gate_deg=gate, association="hungarian")
        entropy = criterion(Localization(doa, logits), target)["activity"].item()
        assert entropy == pytest.approx(9 * wrong / 6, abs=2e-4)


def test_the_mean_distance_of_dmotp_counts_pairs_alike():
    distance = torch.tensor([[[[0.1, 9], [9, 0.3]], [[9, 0.5], [9, 9]]]])
    association = torch.tensor([[[[1.0, 0], [0, 1]], [[0, 1], [0, 0]]]])
    assert dmotp(distance, association, "mean").item() == pytest.approx((0.1 + 0.3 + 0.5) / 3)


def test_losses_are_the_weighted_sums_of_their_terms():
    target = track((X, Y), (X, None))
    localization = Localization(torch.nn.functional.normalize(torch.randn(1, 2, 2, 3), dim=-1), torch.randn(1, 2, 2))
    weights = {"dmotp_weight": 3.0, "dmota_weight": 5.0, "pit_distance_weight": 7.0, "alpha": 11.0,
               "activity_weight": 13.0}
    wanted = {"dmot": {"dmotp": 3, "dmota": 5, "activity": 13}, "pit": {"distance": 7, "activity": 13},
              "sel": {"distance": 11, "activity": 1}}
    for loss, factors in wanted.items():
        terms = loss_of(loss, **weights)(localization, target)
        assert terms["loss"].item() == pytest.approx(
            sum(factor * terms[name].item() for name, factor in factors.items()), rel=1e-5)
        without = loss_of(loss, **weights)(localization._replace(activity_logits=None), target)
        assert "activity" not in without and without["loss"] < terms["loss"]


# --- inactive references are a mask ------------------------------------------------------------------------------

def random_pair(slots=2, batch=16, frames=50, active=0.6):
    """A Localization whose directions take a gradient, and a Target."""
    generator = torch.manual_seed(slots)
    doa, other = (torch.nn.functional.normalize(torch.randn(batch, frames, slots, 3, generator=generator), dim=-1)
                  for _ in range(2))
    activity = (torch.rand(batch, frames, slots, generator=generator) < active).float()
    localization = Localization(doa.requires_grad_(), torch.randn(batch, frames, slots, generator=generator))
    return localization, Target(other * activity[..., None], activity)


def test_dmot_is_the_plain_one_where_hnet_associates_no_inactive_reference():
    """The plain loss puts inactive references at (10, 10, 10) and masks nothing."""
    localization, target = random_pair()
    hnet = PlainHnet().requires_grad_(False)
    hnet.load_state_dict(load_hnet(None, 2).net.state_dict())
    references = torch.where(target.activity[..., None] > 0, target.doa, 10.0)
    association = torch.sigmoid(hnet(pairwise_distance(localization.doa, references)))
    right = ((association > 0.5) & (target.activity.unsqueeze(-2) == 0)).sum((1, 2, 3)) == 0  # (B,)
    assert right.sum() > 8 and (target.activity == 0).sum() > 100
    doa, logits = localization.doa[right], localization.activity_logits[right]
    target = Target(target.doa[right], target.activity[right])
    gradients = []
    for value in (plain_dmot(hnet, doa, logits, target), loss_of("dmot")(Localization(doa, logits), target)["loss"]):
        gradients.append((value, *torch.autograd.grad(value, localization.doa, retain_graph=True)))
    for plain, ours in zip(*gradients):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("association", ASSOCIATIONS)
def test_inactive_references_are_never_associated(association):
    localization, target = random_pair(active=0.4)
    criterion = dmot(association=association, association_sees="activity")
    _, found = criterion.pair(localization, target)
    assert found.shape == (16, 50, 2, 2) and (found.sum(-2)[target.activity == 0] == 0).all()
    assert (found.sum(-2)[target.activity > 0] > 0.5).float().mean() > 0.95


@pytest.mark.parametrize("overrides", [
    *({"loss": loss} for loss in LOSSES), *({"association": one} for one in ASSOCIATIONS)])
def test_the_direction_of_an_inactive_reference_changes_nothing(overrides):
    localization, target = random_pair(batch=3, frames=8)
    elsewhere = Target(torch.where(target.activity[..., None] > 0, target.doa, X), target.activity)
    criterion = build_criterion(get_params(**overrides))
    assert torch.equal(criterion(localization, target)["loss"], criterion(localization, elsewhere)["loss"])


class NoFloat64(TorchDispatchMode):
    """Refuses float64 tensors, which the GPUs of Apple do not have."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64:
                raise TypeError(f"{function} makes a float64 tensor")
        return found


@pytest.mark.parametrize("overrides", [
    *({"loss": loss} for loss in LOSSES), *({"association": one} for one in ASSOCIATIONS),
    *({"association": one, "association_sees": "activity", "dmotp": "mean", "ids": "switch", "activity_gate_deg": 40.0}
      for one in ASSOCIATIONS),
    *({"loss": "pit", "pit_level": level, "pit_distance": "plain"} for level in ("frame", "sequence", "track")),
    *({"loss": "sel", "sel_slots": "pit", "pit_level": level} for level in ("frame", "sequence", "track")),
    {"association": "hungarian", "max_sources": 8}], ids=lambda given: "-".join(map(str, given.values())))
@pytest.mark.parametrize("activity", [True, False])
def test_a_step_makes_no_float64_tensor(overrides, activity):
    localization, target = random_pair(overrides.get("max_sources", 2), batch=2, frames=6)
    if not activity:
        localization = localization._replace(activity_logits=None)
    criterion = build_criterion(get_params(**overrides))
    with NoFloat64():
        with pytest.raises(TypeError):
            localization.doa.double()
        terms = criterion(localization, target)
        terms["loss"].backward()
    assert all(value.dtype == torch.float32 for value in terms.values())
    assert localization.doa.grad.dtype == torch.float32 and torch.isfinite(localization.doa.grad).all()


@pytest.mark.parametrize("overrides", [
    {"loss": "pit", "max_sources": 7}, {"loss": "pit", "pit_level": "track", "max_sources": 6},
    {"loss": "sel", "sel_slots": "pit", "max_sources": 7},
    {"loss": "sel", "sel_slots": "pit", "pit_level": "track", "max_sources": 6}])
def test_orders_of_too_many_slots_are_refused_at_the_start(overrides):
    with pytest.raises(UserError, match="all orders of the slots"):
        build_criterion(get_params(**overrides))


def test_what_the_refusal_advises_is_taken():
    assert isinstance(build_criterion(get_params("20", max_sources=8, loss="dmot", association="hungarian")),
                      LOSSES["dmot"])


def test_pit_without_any_source_has_no_nan():
    doa = torch.stack([X, Y])[None, None].clone().requires_grad_()
    loss = loss_of("pit")(Localization(doa, torch.zeros(1, 1, 2)), track((None, None)))["loss"]
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(doa.grad).all()


def direction(azimuth, elevation):
    return torch.from_numpy(unit_vectors(azimuth, elevation)).float()


def sel(**overrides):
    return loss_of("sel", **overrides)


def sure(target):
    """Activity logits that are certain and right."""
    return (target.activity - 0.5) * 200


@pytest.mark.parametrize("angle", [0, 1e-3, 1, 89, 90, 179, 179.999, 180])
@pytest.mark.parametrize("pole", [X, Y, Z])
def test_great_circle_is_right_and_has_a_finite_gradient_at_any_angle(angle, pole):
    beside = torch.roll(pole, 1)
    angle = math.radians(angle)
    a = (math.cos(angle) * pole + math.sin(angle) * beside).requires_grad_()
    found = great_circle(a, pole)
    found.backward()
    assert found.item() == pytest.approx(angle, abs=1e-6, rel=1e-4)
    slope = (a.grad - (a.grad @ a) * a).norm().item()  # along the sphere
    assert slope == pytest.approx(1, abs=1e-3) if 0 < angle < math.pi else slope <= 1.001


def test_sel_scores_an_elevation_error_at_azimuth_90_as_what_it_is():
    target = track((direction(90, 0),))
    terms = sel()(Localization(direction(90, 30)[None, None, None], sure(target)), target)
    assert terms["distance"] == pytest.approx(math.radians(30), abs=1e-5)  # azimuth as latitude would give 0


def test_sel_by_hand():
    target = track((X, None), (X, direction(0, 60)))
    doa = torch.stack([torch.stack([direction(10, 0), Y]), torch.stack([X, Z])])[None]
    logits = torch.tensor([[[0.0, 0.0], [0.0, 100.0]]])
    terms = sel(alpha=2.0)(Localization(doa, logits), target)
    assert terms["activity"] == pytest.approx(3 / 4 * math.log(2))  # three of four slots undecided, one right
    assert terms["distance"] == pytest.approx(math.radians(10 + 0 + 30) / 3, rel=1e-5)  # three active references
    assert terms["loss"] == pytest.approx(terms["activity"] + 2 * terms["distance"])


def test_sel_compares_slots_in_their_order_unless_told_not_to():
    target = track((X, Y), (X, None))
    swapped = Localization(torch.stack([torch.stack([Y, X]), torch.stack([Y, X])])[None], sure(target).flip(-1))
    assert sel()(swapped, target)["distance"] == pytest.approx(math.pi / 2)
    for level in ("frame", "sequence"):
        assert sel(sel_slots="pit", pit_level=level)(swapped, target)["loss"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("slots", ["start", "pit"])
def test_sel_has_no_nan_without_a_source_nor_at_coincidence_nor_opposite(slots):
    targets = [track((None, None)), track((X, Y)), track((-X, -Y)), track((X, None))]
    for target in targets:
        doa, logits = torch.stack([X, Y])[None, None].clone().requires_grad_(), torch.zeros(1, 1, 2, requires_grad=True)
        terms = sel(sel_slots=slots)(Localization(doa, logits), target)
        terms["loss"].backward()
        assert torch.isfinite(terms["loss"]) and torch.isfinite(doa.grad).all() and torch.isfinite(logits.grad).all()
        if target is targets[0]:
            assert terms["distance"] == 0 and terms["loss"].item() == pytest.approx(math.log(2))
