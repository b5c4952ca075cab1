"""Classical baselines on plane waves of known direction."""

import numpy as np
import pyroomacoustics
import pytest
from helpers import FRAME, FS, foa_wave

from doatools.errors import UserError
from doatools.registry import BASELINES
from doatools.spatial.arrays import find_array
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.track.baselines import SPECTRA_PER_FRAME, Candidates, Rule, _spectra

FRAMES = 14
SOUNDING = slice(4, 10)


def mic_wave(signal, azimuth, elevation):
    """A plane wave at the capsules of the rigid sphere."""
    array = find_array("mic")
    response = array.response(unit_vectors(azimuth, elevation)[None], np.fft.rfftfreq(len(signal), 1 / FS))[:, 0]
    return np.fft.irfft(np.fft.rfft(signal) * response, len(signal)).T


WAVES = {"foa": foa_wave, "mic": mic_wave}
READS = {"intensity": "foa", "srp": "mic", "music": "mic"}


def baseline(name):
    return BASELINES[name](find_array(READS[name]), FS, 0.1)


def recording(kind, directions, noise=1e-2):
    """Noise from ``directions`` in the frames SOUNDING, a little noise of its own on each channel."""
    rng = np.random.default_rng(0)
    audio = noise * rng.standard_normal((FRAMES * FRAME, 4))
    for azimuth, elevation in directions:
        signal = np.zeros(FRAMES * FRAME)
        signal[SOUNDING.start * FRAME : SOUNDING.stop * FRAME] = 0.1 * rng.standard_normal(6 * FRAME)
        audio += WAVES[READS[kind]](signal, azimuth, elevation)
    return audio


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("direction", [(0, 0), (130, 40), (-100, -30), (180, 10)])
def test_a_plane_wave_is_found_where_it_comes_from(kind, direction):
    doa, active = baseline(kind)(recording(kind, [direction]), 2)
    assert doa.shape == (FRAMES, 2, 3) and active.shape == (FRAMES, 2)
    inner = slice(SOUNDING.start + 1, SOUNDING.stop - 1)
    assert active[inner, 0].all()
    assert angular_distance(doa[inner, 0], unit_vectors(*direction)).max() < 5
    assert np.linalg.norm(doa, axis=-1) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["intensity", "music"])
def test_two_waves_are_two_candidates(kind):
    """White noises, so that both sound in every bin, which is as hard as it gets."""
    directions = unit_vectors(np.array([60.0, -70.0]), np.array([10.0, -20.0]))
    found = baseline(kind).candidates(recording(kind, [(60, 10), (-70, -20)]), 2)
    doa = found.doa[SOUNDING.start + 1 : SOUNDING.stop - 1]
    angles = angular_distance(doa[:, :, None], directions)  # (T, candidates, sources)
    errors = np.minimum(angles[:, 0, 0] + angles[:, 1, 1], angles[:, 0, 1] + angles[:, 1, 0]) / 2
    assert errors.max() < 15


def test_both_thresholds_count():
    directions = np.broadcast_to(unit_vectors(0, 0), (3, 2, 3))
    found = Candidates(directions, np.array([[1, 0.8], [1, 0.8], [1, 0.3]]), np.array([5.0, 1.0, 5.0]))
    assert found.active(Rule(level_db=2, height=0.5)).tolist() == [[True, True], [False, False], [True, False]]


@pytest.mark.parametrize("kind", BASELINES)
def test_in_silence_there_is_nothing(kind):
    _, active = baseline(kind)(np.zeros((FRAMES * FRAME, 4)), 2)
    assert active.shape == (FRAMES, 2) and not active.any()
    _, active = baseline(kind)(recording(kind, [(20, 0)], noise=0), 2)
    outer = np.r_[0 : SOUNDING.start - 1, SOUNDING.stop + 1 : FRAMES]
    assert active[SOUNDING, 0].all() and not active[outer].any()


def test_less_than_a_label_frame_is_refused():
    with pytest.raises(UserError, match="shorter than a label frame"):
        baseline("intensity")(np.zeros((1000, 4)), 2)


def test_a_baseline_for_other_channels_is_refused():
    with pytest.raises(UserError, match="intensity reads ambisonics, which array 'mic'"):
        BASELINES["intensity"](find_array("mic"), FS, 0.1)
    with pytest.raises(UserError, match="srp reads capsules, which array 'foa'"):
        BASELINES["srp"](find_array("foa"), FS, 0.1)


@pytest.mark.parametrize("kind", ["srp", "music"])
@pytest.mark.parametrize("direction", [(0, 20), (130, 40), (-100, 30)])
def test_a_planar_array_finds_directions_in_the_upper_half(kind, direction):
    """A wave from below reaches a ring like its mirror image from above."""
    array = find_array("respeaker_6mic")
    signal = np.zeros(FRAMES * FRAME)
    signal[SOUNDING.start * FRAME : SOUNDING.stop * FRAME] = 0.1 * np.random.default_rng(0).standard_normal(6 * FRAME)
    inner = slice(SOUNDING.start + 1, SOUNDING.stop - 1)
    for azimuth, elevation in (direction, (direction[0], -direction[1])):
        response = array.response(unit_vectors(azimuth, elevation)[None], np.fft.rfftfreq(len(signal), 1 / FS))[:, 0]
        audio = np.fft.irfft(np.fft.rfft(signal) * response, len(signal)).T
        doa, _ = BASELINES[kind](array, FS, 0.1)(audio, 1)
        assert angular_distance(doa[inner, 0], unit_vectors(*direction)).max() < 10


@pytest.mark.parametrize("kind, method", [("srp", "SRP"), ("music", "NormMUSIC")])
def test_spectra_are_those_of_pyroomacoustics(kind, method):
    """A label frame and its neighbours, of two sources and noise; up to scale and offset."""
    ours, frame = baseline(kind), SOUNDING.start + 2
    spectra, frequencies = _spectra(recording(kind, [(20, 10), (140, 40)]), FS, ours.hop, ours.n_fft)
    found = ours.spectrum(spectra, frequencies, np.array([frame]), FRAMES)[frame]
    theirs = getattr(pyroomacoustics.doa, method)(ours.array.positions.T, FS, ours.n_fft, dim=3, num_src=1,
                                                  n_grid=len(ours.grid))
    theirs.grid = pyroomacoustics.doa.GridSphere(cartesian_points=ours.grid.T)
    bins = round(frequencies[0] * ours.n_fft / FS) + np.arange(len(frequencies))
    theirs.mode_vec = np.zeros((ours.n_fft // 2 + 1, 4, len(ours.grid)), complex)
    theirs.mode_vec[bins] = ours.steering(frequencies).transpose(2, 0, 1)
    full = np.zeros((4, ours.n_fft // 2 + 1, 3 * SPECTRA_PER_FRAME), complex)
    full[:, bins] = spectra[..., (frame - 1) * SPECTRA_PER_FRAME : (frame + 2) * SPECTRA_PER_FRAME]
    theirs.locate_sources(full, freq_bins=bins)
    found, wanted = ((values - values.mean()) / values.std() for values in (found, theirs.grid.values))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
