"""The Hungarian network, its data and its training, against the exact algorithm it stands for."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import generate_hnet_training_data
import train_hnet
import visualize_hnet_results
from doatools.errors import UserError
from doatools.match.associations import (
    active_pairs,
    assignment_gap,
    excess_cost,
    is_right,
    optimal_association,
    pairwise_distance,
    soft_association,
)
from doatools.train.hnet_pairs import draw_cells, draw_published, draw_slots, load_pairs, random_directions
from doatools.train.hnet_training import answer, batches_of, equivariance
from hnet_model import HNet, hnet_loss, load_hnet, marginals, save_hnet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def flags(*values):
    return torch.tensor(values, dtype=torch.bool)


# --- distances and exact answers ----------------------------------------------------------------------


def test_pairwise_distance_has_predictions_as_rows():
    pred = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    ref = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 0, 1]])
    expected = torch.tensor([[0, 2, 2**0.5], [2**0.5, 2**0.5, 2**0.5]])
    assert torch.allclose(pairwise_distance(pred, ref), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_optimal_association_is_scipys(n):
    rng = np.random.default_rng(n)
    cost = torch.from_numpy(rng.uniform(0, 3, (40, n, n)))
    rows, columns = (torch.from_numpy(rng.random((40, n)) < 0.7) for _ in range(2))
    found = optimal_association(cost, active_pairs(rows, columns))
    for matrix, row, column, one in zip(cost.numpy(), rows.numpy(), columns.numpy(), found.numpy()):
        expected = np.zeros((n, n))
        paired = linear_sum_assignment(matrix[row][:, column])
        expected[np.flatnonzero(row)[paired[0]], np.flatnonzero(column)[paired[1]]] = 1
        np.testing.assert_array_equal(one, expected)


def test_optimal_association_takes_any_leading_axes_and_none():
    cost = torch.rand(3, 5, 2, 2, generator=seeded())
    assert torch.equal(optimal_association(cost)[1, 4], optimal_association(cost[1, 4]))
    assert optimal_association(cost[:0]).shape == (0, 5, 2, 2)


def test_gap_of_hand_made_costs():
    cost = torch.tensor([[[0.1, 0.5], [0.6, 0.3]]])  # straight 0.4, crossed 1.1
    assert assignment_gap(cost, torch.ones_like(cost, dtype=torch.bool)).item() == pytest.approx(0.7)
    one_reference = active_pairs(flags([1, 1]), flags([1, 0]))  # 0.1 against 0.6
    assert assignment_gap(cost, one_reference).item() == pytest.approx(0.5)
    assert assignment_gap(cost, active_pairs(flags([1, 0]), flags([1, 0]))).item() == torch.inf


def test_right_is_valid_and_within_a_thousandth():
    cost = torch.tensor([[[0.5, 0.5005], [0.5, 0.5]], [[0.5, 0.502], [0.5, 0.5]]])
    active = torch.ones_like(cost, dtype=torch.bool)
    crossed = torch.tensor([[0.0, 1], [1, 0]]).expand(2, 2, 2)
    assert is_right(crossed, cost, active).tolist() == [True, False]
    assert excess_cost(crossed, cost, active).tolist() == pytest.approx([0.0005, 0.002], abs=1e-6)
    twice = torch.tensor([[1.0, 1], [0, 0]]).expand(2, 2, 2)
    incomplete = torch.tensor([[1.0, 0], [0, 0]]).expand(2, 2, 2)
    assert not is_right(twice, cost, active).any() and not is_right(incomplete, cost, active).any()
    assert is_right(incomplete, cost, active_pairs(flags([1, 0]), flags([1, 0])).expand(2, 2, 2)).all()


def test_soft_association_is_a_sigmoid_of_the_gap_for_two_sources():
    cost = torch.tensor([[0.10, 0.14], [0.20, 0.15]])  # straight 0.25, crossed 0.34
    soft = soft_association(cost, torch.ones(2, 2, dtype=torch.bool), temperature=0.05)
    assert soft[0, 0].item() == pytest.approx(1 / (1 + np.exp(-0.09 / 0.05)), abs=1e-6)
    assert torch.allclose(soft.sum(-1), torch.ones(2))
    cold = soft_association(cost, torch.ones(2, 2, dtype=torch.bool), temperature=1e-4)
    assert torch.allclose(cold, optimal_association(cost))


# --- training pairs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_cells_are_balanced_and_draws_seeded(n):
    count = 100 * (n + 1) ** 2
    pairs, again = (draw_published(count, n, seeded(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(pairs, again))
    assert torch.bincount(pairs.n_ref * (n + 1) + pairs.n_pred).tolist() == [100] * (n + 1) ** 2
    assert torch.equal(pairs.association.sum((-1, -2)).long(), torch.minimum(pairs.n_ref, pairs.n_pred))
    assert is_right(pairs.association, pairs.distance, pairs.active).all()


def test_balance_of_pairs_is_the_published_one():
    n_ref, n_pred = draw_cells(4500, 2, "pairs", seeded())
    assert torch.bincount(torch.minimum(n_ref, n_pred)).tolist() == [1500] * 3
    assert ((n_ref == 1) & (n_pred == 2)).sum() == 500
    pairs = draw_published(90000, 2, seeded(), balance="pairs")
    published = torch.tensor([[0.303, 0.254], [0.251, 0.193]])
    assert torch.allclose(pairs.association.mean(0), published, atol=0.01)


def test_rows_are_predictions():
    pairs = draw_published(2000, 3, seeded())
    assert torch.equal(pairs.active.any(-1).sum(-1)[pairs.n_ref > 0], pairs.n_pred[pairs.n_ref > 0])
    slots = draw_slots(2000, 3, seeded())
    assert slots.n_pred.unique().tolist() == [3] and slots.n_ref.unique().tolist() == [0, 1, 2, 3]
    assert (slots.distance[~slots.active] > 15).all() and (slots.distance[slots.active] < 2.001).all()


def test_too_many_sources_for_the_grid_are_refused():
    with pytest.raises(UserError, match="sphere"):
        draw_published(10, 8, seeded())
    assert draw_published(10, 8, seeded(), "sphere").distance.shape == (10, 8, 8)


def test_batches_go_through_all_pairs():
    pairs = draw_published(10, 2, seeded())
    batches = list(batches_of(pairs, 4, 5, seeded()))
    assert [len(batch.distance) for batch in batches] == [4] * 5
    seen = torch.cat([batch.distance for batch in batches]).sum((1, 2))  # 20: twice through
    assert torch.equal(seen[:10].sort().values, pairs.distance.sum((1, 2)).sort().values)


# --- the network --------------------------------------------------------------------------------------


def published_like(n, seed=0):
    """A state dict of the published names and shapes with random weights."""
    rng = np.random.default_rng(seed)
    shapes = {"gru.weight_ih_l0": (384, n), "gru.weight_hh_l0": (384, 128), "gru.bias_ih_l0": (384,),
              "gru.bias_hh_l0": (384,), "attn.conv_Q.weight": (128, 128, 1), "attn.conv_K.weight": (128, 128, 1),
              "attn.conv_V.weight": (128, 128, 1), "fc1.weight": (n, 128), "fc1.bias": (n,)}
    return {name: torch.from_numpy(rng.normal(0, 0.1, shape)).float() for name, shape in shapes.items()}


def gru_equations(w, distance):
    """One matrix (N, N) through the published network, written plainly."""
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    hidden, rows = np.zeros(128), []
    for row in distance:
        from_input = np.split(w["gru.weight_ih_l0"] @ row + w["gru.bias_ih_l0"], 3)
        from_hidden = np.split(w["gru.weight_hh_l0"] @ hidden + w["gru.bias_hh_l0"], 3)
        reset, update = (sigmoid(a + b) for a, b in zip(from_input[:2], from_hidden[:2]))
        hidden = (1 - update) * np.tanh(from_input[2] + reset * from_hidden[2]) + update * hidden
        rows.append(hidden)
    x = np.array(rows)  # (N, 128)
    query, key, value = (x @ w[f"attn.conv_{name}.weight"][:, :, 0].T for name in "QKV")
    score = np.exp(query @ key.T)
    attended = score / score.sum(1, keepdims=True) @ value
    return np.tanh(attended) @ w["fc1.weight"].T + w["fc1.bias"]


@pytest.mark.parametrize("n", [2, 3])
def test_a_published_state_dict_loads_and_follows_the_equations(n, tmp_path):
    state = published_like(n)
    torch.save(state, tmp_path / "published.pt")
    model = load_hnet(tmp_path / "published.pt", n)
    assert model.arch == "gru"
    distance = draw_published(6, n, seeded()).distance
    weights = {name: value.double().numpy() for name, value in state.items()}
    expected = np.stack([gru_equations(weights, d) for d in distance.double().numpy()])
    np.testing.assert_allclose(model(distance).numpy(), expected, atol=1e-4)


def test_gru_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in HNet(2, "gru").parameters()) == 100_098


@pytest.mark.parametrize("arch", ["equivariant", "gru"])
def test_leading_axes_and_a_batch_of_one(arch):
    torch.manual_seed(0)
    model = HNet(3, arch).eval()
    distance = torch.rand(4, 5, 3, 3, generator=seeded())
    assert torch.allclose(model(distance)[2, 3], model(distance[2, 3]), atol=1e-5)
    assert model(distance[:1, :1]).shape == (1, 1, 3, 3)


def test_marginals_are_row_then_column_maxima():
    rows, columns = marginals(torch.tensor([[1.0, 5], [3, 2]]))
    assert rows.tolist() == [5, 3] and columns.tolist() == [3, 5]


def test_loss_of_an_exact_target_is_the_published_one():
    logits = torch.randn(6, 2, 2, generator=seeded())
    target = draw_published(6, 2, seeded()).association
    terms = zip((logits, *marginals(logits)), (target, target.sum(-1), target.sum(-2)))
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    assert hnet_loss(logits, target).item() == pytest.approx(sum(bce(z, t).item() for z, t in terms), rel=1e-6)


def test_saved_networks_come_back_frozen_and_safe(tmp_path):
    model = HNet(2, channels=8, layers=2)
    save_hnet(tmp_path / "h.pt", model, {"right": 0.5})
    assert torch.load(tmp_path / "h.pt", weights_only=True)["scores"] == {"right": 0.5}
    loaded = load_hnet(tmp_path / "h.pt", 2)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    distance = draw_slots(5, 2, seeded()).distance
    assert torch.equal(loaded(distance), model.eval()(distance))


def test_missing_and_unfit_files_are_told_plainly(tmp_path):
    with pytest.raises(UserError, match=r"train_hnet\.py --max-doas 2"):
        load_hnet(tmp_path / "none.pt", 2)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(UserError, match=r"not a readable checkpoint.*train_hnet\.py --max-doas 2"):
        load_hnet(tmp_path / "text.pt", 2)
    save_hnet(tmp_path / "three.pt", HNet(3, layers=2))
    with pytest.raises(UserError, match="for 3 sources, not 2"):
        load_hnet(tmp_path / "three.pt", 2)


# --- the shipped weights ------------------------------------------------------------------------------

WANTED = {2: 0.999, 3: 0.995, 4: 0.99}  # share of right answers


def share_right(model, pairs):
    return is_right((answer(model, pairs.distance) > 0).float(), pairs.distance, pairs.active).double().mean().item()


@pytest.mark.parametrize("n", WANTED)
def test_shipped_weights_are_right(n):
    model = load_hnet(None, n)
    assert share_right(model, draw_published(20000, n, seeded(71), balance="pairs")) >= WANTED[n]
    assert share_right(model, draw_published(20000, n, seeded(72), "sphere")) >= WANTED[n]
    assert share_right(model, draw_slots(20000, n, seeded(73))) >= WANTED[n]


def test_permuted_rows_and_columns_permute_the_shipped_answer():
    distance = draw_published(20000, 2, seeded(74), "sphere").distance
    assert equivariance(load_hnet(None, 2), distance, seeded()) >= 0.999


@pytest.mark.parametrize("n", WANTED)
def test_gradient_to_the_predictions_is_finite_everywhere(n):
    ref = random_directions((n,), seeded())
    inactive = torch.full((n, 3), 10.0)
    tie = torch.nn.functional.normalize(ref.sum(0, keepdim=True), dim=-1).expand(n, 3)
    same = ref[:1].expand(n, 3)
    pred = torch.stack([ref, tie, same, same, ref, torch.zeros(n, 3)]).requires_grad_()
    refs = torch.stack([ref, ref, ref, same, inactive, ref])
    association = load_hnet(None, n)(pairwise_distance(pred, refs)).sigmoid()
    (association * pairwise_distance(pred, refs)).sum().backward()
    assert association.isfinite().all() and pred.grad.isfinite().all()


# --- the scripts --------------------------------------------------------------------------------------


def test_scripts_from_data_to_pictures(tmp_path, capsys):
    data, weights, results = (str(tmp_path / name) for name in ("pairs.npz", "h.pt", "results"))
    assert generate_hnet_training_data.main(["--max-doas", "3", "--examples", "600", "--out", data]) == 0
    assert load_pairs(data, 3).distance.shape == (600, 3, 3)
    assert train_hnet.main(["--max-doas", "3", "--data", data, "--epochs", "1", "--batch-size", "64",
                            "--out", weights, "--results", results]) == 0
    scores = json.loads((tmp_path / "results" / "scores.json").read_text())
    assert scores["test"]["file"]["pairs"] == 60 and "n_ref" in capsys.readouterr().out
    assert visualize_hnet_results.main(["--max-doas", "3", "--model", weights, "--examples", "200",
                                        "--results", results]) == 0
    assert {p.name for p in (tmp_path / "results").iterdir()} == {
        "scores.json", "curve.png", "examples.png", "gap.png", "crossing.png"}


@pytest.mark.parametrize("arch", ["equivariant", "gru"])
def test_training_on_the_fly_with_a_batch_of_one(arch, tmp_path):
    assert train_hnet.main(["--arch", arch, "--steps", "3", "--batch-size", "1", "--held-out", "90", "--out",
                            str(tmp_path / "h.pt"), "--results", str(tmp_path)]) == 0
    assert load_hnet(tmp_path / "h.pt", 2).arch == arch


def test_training_learns(tmp_path):
    """A short training beats the answer 'nothing is associated', which is right for a third of the pairs."""
    assert train_hnet.main(["--steps", "150", "--batch-size", "256", "--held-out", "2000", "--out",
                            str(tmp_path / "h.pt"), "--results", str(tmp_path)]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["test"]
    assert scores["published"]["right"] > 0.5


@pytest.mark.parametrize("words", [["--max-doas", "0"], ["--epochs", "3"], ["--data", "missing.npz"]])
def test_mistakes_on_the_command_line_are_one_line(words, capsys):
    assert train_hnet.main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")
