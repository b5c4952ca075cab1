"""How well one plane wave from each of a grid of directions explains the spectra of an array, band by band.

With a(d) the response of the array to a wave from d and x the spectra of its channels in one bin, the share of the
power that a wave from d explains is, from 0 to 1,

    S(d) = |a(d)ᴴ Γ⁻¹ x|² / (a(d)ᴴ Γ⁻¹ a(d) · xᴴ Γ⁻¹ x)

Γ is the coherence of a diffuse field at the array (reverberation is nearly diffuse) plus NOISE, for noise and errors of
the capsules themselves. For one wave in Gaussian noise with covariance Γ, the likelihood of d falls with 1 - S(d). With
Γ = 1, S is the steered response power with each bin normalised. Delays, shadows of a sphere and directivity all count,
so that capsules and ambisonics are treated alike. See van Trees, "Optimum Array Processing", 2002; SRP-PHAT: DiBiase
2000.

As xᴴ and x appear in products only, S is linear in the products of pairs of channels: in each band, a matrix product of
(frames, pairs) and (pairs, directions). Neighbouring bins of a band share a response, as far as waves of their
frequencies differ little in phase across the array.

M channels, P = M·M products (powers, real and imaginary parts), K bins, B frames, F bands, G directions.
"""

import functools
import itertools

import numpy as np

from doatools.spatial.arrays import fibonacci_directions

GRID = 256  # directions on the whole sphere, about 13° apart; planar arrays use those of the upper half
NOISE = 0.03  # of a capsule, relative to the diffuse field
DIFFUSE = 300  # directions that the diffuse field is the mean of
TURN = 0.06  # of a period: the most by which waves of two bins that share a response differ in phase
LOWEST_HZ = 90.0  # bins below are not used, unless a band has no others
MOST_BINS = 8  # of a band, evenly spaced; neighbouring bins hold much the same, as windows are short


class SteeredResponse:
    """S(d) of one array in bands.

    Parameters
    ----------
    array : Array
    frequencies : (K,) Hz, of the bins, evenly spaced from 0
    centres : (F,) Hz, of the bands; each bin belongs to the nearest one

    Attributes
    ----------
    grid : (G, 3) directions
    """

    def __init__(self, array, frequencies, centres):
        self.array, self.frequencies, self.centres = array, frequencies, centres
        grid = fibonacci_directions(GRID)
        self.grid = grid[grid[:, 2] >= 0] if array.planar else grid
        self.pairs = np.triu_indices(array.channels, 1)

    @functools.cached_property
    def chunks(self):
        """Of each band: slices of bins that share a response."""
        spacing = self.frequencies[1]
        together = max(1, int(2 * TURN / max(self.array.max_delay_s * spacing, 1e-9)))
        owner = np.abs(self.frequencies[:, None] - self.centres).argmin(1)
        owner[self.frequencies < LOWEST_HZ] = -1
        chunks = []
        for band, centre in enumerate(self.centres):
            bins = np.flatnonzero(owner == band)
            if not len(bins):
                bins = np.array([round(min(max(centre, LOWEST_HZ) / spacing, len(self.frequencies) - 1))])
            step = -(-len(bins) // MOST_BINS)
            parts = np.array_split(bins[::step], -(-len(bins) // together))
            chunks.append([slice(int(part[0]), int(part[-1]) + 1, step) for part in parts if len(part)])
        return chunks

    @functools.cached_property
    def bins(self):
        """Indices of the bins of all chunks, (N,), and the edges between chunks among these, (chunks + 1,)."""
        parts = [np.arange(chunk.start, chunk.stop, chunk.step) for chunk in itertools.chain(*self.chunks)]
        return np.concatenate(parts), np.cumsum([0, *map(len, parts)])

    @functools.cached_property
    def tables(self):
        """Γ^(-1/2) of each bin (N, M, M), and of each band the products of the whitened responses of its chunks over
        the number of its bins, a list of F (chunks·P, G)."""
        middles = [self.frequencies[bins].mean() for bins in itertools.chain(*self.chunks)]
        diffuse = self.array.response(fibonacci_directions(DIFFUSE), middles).transpose(2, 0, 1)  # (chunks, M, DIFFUSE)
        coherence = diffuse @ diffuse.conj().swapaxes(1, 2)
        coherence *= self.array.channels / np.einsum("cmm->c", coherence).real[:, None, None]
        values, vectors = np.linalg.eigh(coherence + NOISE * np.eye(self.array.channels))
        whitener = vectors / np.sqrt(values)[:, None] @ vectors.conj().swapaxes(1, 2)
        steering = whitener @ self.array.response(self.grid, middles).transpose(2, 0, 1)  # (chunks, M, G)
        steering /= np.linalg.norm(steering, axis=1, keepdims=True)
        products = self._products(steering).astype(np.float32)  # (chunks, P, G)
        sizes = np.diff(self.bins[1])
        ends = np.cumsum([len(parts) for parts in self.chunks])[:-1]
        of_bands = [own.reshape(-1, own.shape[-1]) / np.float32(size.sum())
                    for own, size in zip(np.split(products, ends), np.split(sizes, ends))]
        return np.repeat(whitener.astype(np.complex64), sizes, 0), of_bands

    def __call__(self, spectra):
        """Spectra (M, B, K) complex64 → the S of each band, (F, B, G) float32."""
        whiteners, steering = self.tables
        bins, edges = self.bins
        white = whiteners @ spectra[..., bins].transpose(2, 0, 1)  # (N, M, B)
        length = np.sqrt((white.real**2 + white.imag**2).sum(1, keepdims=True))
        white *= 1 / np.maximum(length, np.float32(1e-18))
        products = self._products(white)
        products = np.stack([products[start:end].sum(0) for start, end in itertools.pairwise(edges)])  # (chunks, P, B)
        shares, first = np.empty((len(steering), spectra.shape[1], len(self.grid)), np.float32), 0
        for chunks, table, out in zip(self.chunks, steering, shares):
            own = products[first : first + len(chunks)]
            np.matmul(own.reshape(-1, own.shape[-1]).T, table, out=out)
            first += len(chunks)
        return shares

    def _products(self, values):
        """(n, M, B) complex → (n, P, B): powers, and √2 times the real and imaginary parts of the products of pairs.
        Inner products of two of these are the |·|² of inner products."""
        one, other = (np.ascontiguousarray(values[:, own]) for own in self.pairs)  # (n, pairs, B)
        root = np.sqrt(values.real.dtype.type(2))
        other *= root
        return np.concatenate([values.real**2 + values.imag**2,
                               one.real * other.real + one.imag * other.imag,
                               one.imag * other.real - one.real * other.imag], 1)
