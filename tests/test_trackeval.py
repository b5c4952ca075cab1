"""Tracking scores are those of TrackEval on 300 random scenes (golden/make_trackeval.py); but for a reference that
pauses, which TrackEval counts as fragmented."""

from pathlib import Path

import numpy as np
import pytest

from cls_metric import HOTA, ClearMOT, Identity
from doatools.spatial.geometry import unit_vectors
from doatools.track.identities import periods

FAMILIES = (ClearMOT, Identity, HOTA)
GATE = 20.0


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "trackeval.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def ours(golden):
    """Counts of each scene, merged over the families, and the families after all scenes."""
    ends = np.cumsum(golden["length"])
    together, scenes, pausing = [family(gate=GATE) for family in FAMILIES], [], []
    for first, end in zip(ends - golden["length"], ends):
        ref, ref_id, pred, pred_id = (golden[name][first:end] for name in ("ref", "ref_id", "pred", "pred_id"))
        arrays = (unit_vectors(pred[..., 0] / 100, pred[..., 1] / 100), pred_id >= 0,
                  unit_vectors(ref[..., 0] / 100, ref[..., 1] / 100), ref_id.astype(int), pred_id.astype(int))
        alone = [family(gate=GATE) for family in FAMILIES]
        for part in (*alone, *together):
            part.update(*arrays)
        scenes.append(alone)
        pausing.append(periods(ref_id).max() > np.unique(ref_id[ref_id >= 0]).size - 1)
    return scenes, together, pausing


def counts_of(parts):
    """Our counts under TrackEval's names."""
    clear, identity, hota = (part.counts for part in parts)
    return {
        "CLR_TP": clear["matches"], "CLR_FP": clear["false_positives"], "CLR_FN": clear["misses"],
        "IDSW": clear["id_switches"], "Frag": clear["fragmentations"],
        "MT": clear["mostly_tracked"], "ML": clear["mostly_lost"],
        "PT": clear["tracks"] - clear["mostly_tracked"] - clear["mostly_lost"],
        "MOTP_sum": clear["matches"] - clear["angle"] / (2 * GATE),  # the sum of similarities
        "IDTP": identity["true"], "IDFP": identity["predicted"] - identity["true"],
        "IDFN": identity["references"] - identity["true"],
        "HOTA_TP": hota["true"], "HOTA_FP": hota["predicted"] - hota["true"],
        "HOTA_FN": hota["references"] - hota["true"], "AssA": hota["association"] / np.maximum(hota["true"], 1),
    }


def figures_of(parts):
    figures = {name: value for part in parts for name, value in part.compute().items()}
    return {"MOTA": figures["MOTA@20"]} | {name: figures[name] for name in ("IDF1", "IDP", "IDR", "HOTA", "DetA")}


def test_every_scene_agrees(golden, ours):
    assert len(ours[0]) >= 200
    for number, (parts, pauses) in enumerate(zip(ours[0], ours[2])):
        for name, value in counts_of(parts).items():
            if pauses and name == "Frag":
                assert value <= golden[name][number]
                continue
            assert value == pytest.approx(golden[name][number], abs=1e-9), (number, name)
        for name, value in figures_of(parts).items():
            expected = np.mean(golden[name][number])
            # a figure without meaning is 0 there and not-a-number here
            meaningless = np.isnan(value) and expected <= 0
            assert meaningless or value / 100 == pytest.approx(expected, abs=1e-9), (number, name)


def test_all_scenes_together_agree(golden, ours):
    for name, value in counts_of(ours[1]).items():
        if name == "Frag":
            continue
        assert value == pytest.approx(golden[f"all {name}"], abs=1e-7 if name == "MOTP_sum" else 1e-9), name
    for name, value in figures_of(ours[1]).items():
        assert value / 100 == pytest.approx(np.mean(golden[f"all {name}"]), abs=1e-9), name
    assert ours[1][2].compute()["AssA"] / 100 == pytest.approx(golden["all AssA"].mean(), abs=1e-9)


def test_the_scenes_are_hard_enough(golden):
    assert (golden["length"] > 0).all() and golden["all IDSW"] > 100 and golden["all Frag"] > 100
    nothing_there, nothing_heard = golden["CLR_TP"] + golden["CLR_FN"] == 0, golden["CLR_TP"] + golden["CLR_FP"] == 0
    for kind in (nothing_there, nothing_heard, nothing_there & nothing_heard):
        assert kind.any()
