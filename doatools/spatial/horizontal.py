"""Ambisonics without height, such as the spatial mode of a Zoom H2n: channel Z is silent.

Elevations cannot be known from such sound. Networks have not been trained with it either, and find sources that are not
there. It is therefore localized with a Z as sources at the horizon have it in a room, and with elevations of 0.

Audio is (samples, 4) in the order W, Y, Z, X.
"""

import numpy as np

from doatools.spatial.geometry import azimuth_elevation, unit_vectors

SILENT_DB = -50.0  # energy of Z, compared with the louder one of X and Y
HEARD = 1e-12  # energy of a sample; less is silence
DIFFUSE = 0.3  # Z in a room, compared with W


class Height:
    """Whether the sound of an Array has been horizontal so far, from the energies of all of it, DC apart."""

    def __init__(self, array):
        self._ambisonic = array.kind == "ambisonic"
        self._count, self._sum, self._squares = 0, np.zeros(3), np.zeros(3)

    def hear(self, audio):
        """Add the next samples → whether it is horizontal."""
        if self._ambisonic:
            audio = audio[:, 1:].astype(float)
            self._count += len(audio)
            self._sum += audio.sum(0)
            self._squares += (audio**2).sum(0)
        return self.missing

    @property
    def missing(self):
        y, z, x = self._squares / max(self._count, 1) - (self._sum / max(self._count, 1)) ** 2
        return bool(max(x, y) > HEARD and z < max(x, y) * 10 ** (SILENT_DB / 10))


def with_diffuse_height(audio):
    """A copy whose Z is W a quarter of a period late at each frequency: there is energy, as of reverberation, and the
    intensity, real(conj(W)·Z), is 0."""
    filled = audio.copy()
    filled[:, 2] = DIFFUSE * np.fft.irfft(-1j * np.fft.rfft(audio[:, 0]), len(audio))
    return filled


def at_horizon(directions):
    """Directions (..., 3) at elevation 0."""
    return unit_vectors(azimuth_elevation(directions)[0], 0).astype(directions.dtype)
