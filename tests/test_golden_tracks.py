"""The shipped models find the tracks that they found when last examined (golden/tracks).

The recordings are three of those that ``simulate_dataset.py sim_recordings_per_fold=1 sim_recording_len_s=20`` makes,
and the tracks what ``localize.py --array foa`` and ``--array mic`` wrote for them, with and without ``--fast``.
"""

from pathlib import Path

import pytest

import localize
from doanet_parameters import get_params
from doatools.registry import WRITERS
from doatools.simulate.sounds import GeneratedSounds
from simulate_dataset import simulate_recording

GOLDEN = Path(__file__).parent / "golden" / "tracks"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The dataset with the first recording of folds 1 to 3."""
    folder = tmp_path_factory.mktemp("golden")
    config = get_params(dataset_dir=str(folder), sim_recordings_per_fold=1, sim_recording_len_s=20.0)
    writer = WRITERS["dcase2020"](config, GeneratedSounds(config.run.seed, config.features.fs))
    for key in writer.entries()[:3]:
        simulate_recording(writer, folder, key)
    return folder


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("array", ["foa", "mic"])
def test_tracks_are_the_same_as_before(array, fast, recordings, tmp_path):
    words = [str(recordings / f"{array}_dev"), "--array", array, "--no-plot", "--out", str(tmp_path)]
    assert localize.main([*words, *["--fast"] * fast]) == 0
    expected = sorted((GOLDEN / f"{array}{'_fast' * fast}").glob("*.csv"))
    assert len(expected) == 3
    assert {path.name: (tmp_path / path.name).read_text() for path in expected} == {
        path.name: path.read_text() for path in expected}
