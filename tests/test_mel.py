"""Mel bands are those of librosa, to the last bit: models were trained with them."""

import librosa
import numpy as np
import pytest

from doatools.data.mel import mel_filters, mel_frequencies


@pytest.mark.parametrize("bands", [8, 40, 64, 80, 128])
@pytest.mark.parametrize("fs", [1500, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000])
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_filters_are_those_of_librosa(fs, bands):
    for n_fft in (256, 1024, 2048):
        ours, theirs = mel_filters(fs, n_fft, bands), librosa.filters.mel(sr=fs, n_fft=n_fft, n_mels=bands)
        assert ours.dtype == theirs.dtype == np.float32 and np.array_equal(ours, theirs)
    assert np.array_equal(mel_frequencies(bands + 2, fs / 2), librosa.mel_frequencies(bands + 2, fmin=0, fmax=fs / 2))
