"""Labels in time: the same annotation at any label hop, for annotations of times and of frames."""

import numpy as np
import pytest
import soundfile
from helpers import FS, make_rows
from tut_helpers import make_tut

import batch_feature_extraction
from cls_data_generator import SequenceDataset
from cls_feature_class import FeatureFiles
from doanet_parameters import get_params
from doatools.data.dcase import write_dcase
from doatools.data.readers import Dcase
from doatools.data.slots import rows_at
from doatools.data.tut import folders, write_tut
from doatools.errors import UserError
from doatools.types import Recording

HOPS = {0.02: 0.02, 0.04: 0.02, 0.05: 0.025, 0.1: 0.02}  # label hop → a feature hop that divides it


def settings(hop_s):
    return {"label_hop_len_s": hop_s, "hop_len_s": HOPS[hop_s]}


def intervals(rows, hop_s):
    """EVENT_ROWS → {event: (start, end) in s}; an event is active without a gap."""
    spans = {}
    for event in np.unique(rows["event"]):
        frames = rows["frame"][rows["event"] == event]
        assert (np.diff(frames) == 1).all()
        spans[int(event)] = frames[0] * hop_s, (frames[-1] + 1) * hop_s
    return spans


# --- annotations of times ----------------------------------------------------------------------------------------

EVENTS = [("a.wav", 0.2, 1.4, 10.0, 0.0, 1.0), ("b.wav", 0.6, 0.8, -90.0, 20.0, 1.0),  # on frames of all four hops
          ("c.wav", 1.617, 1.983, 170.0, -40.0, 1.0)]  # on none


@pytest.fixture
def tut_recording(tmp_path):
    audio, annotation = tmp_path / "a.wav", tmp_path / "a.csv"
    soundfile.write(audio, np.zeros((2 * FS, 4)), FS)
    write_tut(annotation, EVENTS)
    return Recording("a", audio, annotation, "train1")


@pytest.mark.parametrize("hop_s", HOPS)
def test_labels_of_times_agree_at_any_hop(tut_recording, hop_s):
    config = get_params(format="tut2018", **settings(hop_s))
    assert config.score_hop_s == hop_s and config.labels_per_score == 1
    rows = FeatureFiles(config).read_labels(tut_recording)
    spans = intervals(rows, hop_s)
    for event, (_, start, end, azimuth, elevation, _) in enumerate(EVENTS):
        own = rows[rows["event"] == event]
        assert set(own["azimuth"]) == {azimuth} and set(own["elevation"]) == {elevation}
        assert start - hop_s < spans[event][0] <= start + 1e-9 and end - 1e-9 <= spans[event][1] < end + hop_s
    for event in (0, 1):
        np.testing.assert_allclose(spans[event], EVENTS[event][1:3], atol=1e-9)


def test_batches_of_times_agree_at_any_hop(tmp_path):
    """From the annotation to the targets of training: a source from 0.2 to 1.4 s."""
    root = make_tut(tmp_path / "ansim", seconds=2.0, overlaps=(1,), fs=FS)
    for split in (1, 2, 3):
        for part in ("train", "test"):
            write_tut(root / folders(1, split)[1] / f"{part}_0_desc_30_100.csv", EVENTS[:1])
    for hop_s in HOPS:
        config = get_params(format="tut2018", dataset_dir=str(root), label_sequence_length=20, **settings(hop_s))
        assert active_times(extracted(config), hop_s) == pytest.approx((0.2, 1.4))


# --- annotations of frames ---------------------------------------------------------------------------------------

DCASE_HOPS = (0.02, 0.05, 0.1)  # those that divide 100 ms


@pytest.fixture(scope="module")
def dcase(tmp_path_factory):
    """Recordings of 4 s with a source from 2.0 to 3.0 s at (30, 10)."""
    root = tmp_path_factory.mktemp("dcase")
    (root / "foa_dev").mkdir()
    for fold in (1, 2, 3):
        audio = 0.01 * np.random.default_rng(fold).standard_normal((4 * FS, 4))
        soundfile.write(root / f"foa_dev/fold{fold}_room1_mix001_ov1.wav", audio, FS)
        write_dcase(root / f"metadata_dev/fold{fold}_room1_mix001_ov1.csv", make_rows((20, 29, 0, 30, 10)))
    return root


def extracted(config):
    """The training data of a Config, its features and labels extracted."""
    words = [f"{key}={value}" for key, value in config.stored().items() if key not in ("task_id", "f_pool_size")]
    assert batch_feature_extraction.main([*(word for word in words if not word.endswith("=")), "--jobs", "1"]) == 0
    return SequenceDataset(config, "train")


def active_times(data, hop_s):
    """(start, end) in s of the one active stretch in the first recording."""
    active = np.concatenate([data[int(i)]["activity"][:, 0].numpy() for i in data.sequences_of(0)]) > 0
    frames = np.flatnonzero(active)
    assert (np.diff(frames) == 1).all()
    return frames[0] * hop_s, (frames[-1] + 1) * hop_s


@pytest.mark.parametrize("hop_s", DCASE_HOPS)
def test_a_source_from_2_to_3_s_is_labelled_so_at_any_hop(dcase, hop_s):
    """The first edition took each frame of an annotation for one of the label hop: at 20 ms, 0.4 to 0.6 s."""
    config = get_params(dataset_dir=str(dcase), **settings(hop_s))
    assert config.score_hop_s == 0.1 and config.labels_per_score == round(0.1 / hop_s)
    data = extracted(config)
    assert active_times(data, hop_s) == pytest.approx((2.0, 3.0))
    doa, event = data.references(0)  # scores are at the frames of the annotation, whatever the label hop
    assert event.shape == (40, 1) and np.flatnonzero(event[:, 0] >= 0).tolist() == list(range(20, 30))
    targets = np.concatenate([data[int(i)]["doa"][:, 0].numpy() for i in data.sequences_of(0)])
    np.testing.assert_array_equal(targets[: 40 * config.labels_per_score],
                                  np.repeat(doa[:, 0], config.labels_per_score, axis=0))


def test_frames_are_intervals_of_time(dcase):
    pieces = Dcase.read(dcase / "metadata_dev/fold1_room1_mix001_ov1.csv", 4.0)
    assert (pieces["start"][0], pieces["end"][-1]) == pytest.approx((2.0, 3.0))
    for hop_s in DCASE_HOPS:
        rows = rows_at(pieces, hop_s)
        assert intervals(rows, hop_s)[0] == pytest.approx((2.0, 3.0)) and len(rows) == round(1 / hop_s)


@pytest.mark.parametrize("given, remedy", [
    ({"label_hop_len_s": 0.04}, "set it to 0.1 or 0.02"),
    ({"label_hop_len_s": 0.2}, "set it to 0.1 or 0.02"),
    ({"label_hop_len_s": 0.04, "hop_len_s": 0.005}, "set it to 0.1 or 0.05 or 0.025 or 0.02 or 0.01"),
    ({"label_hop_len_s": 0.03, "hop_len_s": 0.03}, "set label_hop_len_s=0.1 and a hop_len_s that divides it, such as"),
    ({"label_hop_len_s": 0.03, "hop_len_s": 0.015}, "set label_hop_len_s=0.1 and a hop_len_s that divides it, such as"),
])
def test_a_hop_that_does_not_divide_the_frames_is_refused(given, remedy, capsys):
    told = f"label_hop_len_s={given['label_hop_len_s']} does not divide the frames of 0.1 s"
    with pytest.raises(UserError) as error:
        get_params(**given)
    assert str(error.value).startswith(told) and remedy in str(error.value)
    words = [f"{key}={value}" for key, value in given.items()]
    assert batch_feature_extraction.main(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith(f"error: {told}")


@pytest.mark.parametrize("given, follow", [
    ({"label_hop_len_s": 0.04}, {"label_hop_len_s": 0.02}),
    ({"label_hop_len_s": 0.03, "hop_len_s": 0.03}, {"label_hop_len_s": 0.1, "hop_len_s": 0.02}),
    ({"label_hop_len_s": 0.05}, {"label_hop_len_s": 0.05, "hop_len_s": 0.025})])
def test_the_remedies_are_accepted(given, follow):
    with pytest.raises(UserError):
        get_params(**given)
    get_params(**{**given, **follow})
