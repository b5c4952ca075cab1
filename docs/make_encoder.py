"""Draw docs/encoder.png: ambisonics from four cardioid capsules against ideal ambisonics, simulated and in theory.

Level of each channel's wanted pattern, and error of the intensity's direction, over frequency; capsules at 12 and 15
mm, with and without correction filters. Lines are rendered plane waves, dots the formula of
doatools/simulate/sensors.py.
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from doanet_parameters import get_params  # noqa: E402
from doatools.simulate import sensors  # noqa: E402
from doatools.simulate.live_rooms import LiveRenderer  # noqa: E402
from doatools.spatial.arrays import fibonacci_directions, find_array, foa_gains  # noqa: E402
from doatools.spatial.geometry import angular_distance  # noqa: E402

FS = 24000


def rendered(radius_mm, corrected, directions):
    """Channels (4, D, F) of plane waves through the simulator, and frequencies (F,)."""
    simulation = get_params(sim_encoder_mm=[radius_mm, radius_mm], sim_encoder_corrected=corrected).simulation
    sensor = sensors.draw(find_array("foa"), simulation, FS, np.random.default_rng(0))
    renderer = LiveRenderer([sensor], FS)
    spectra = []
    for direction in directions:
        response = renderer.early_bands(direction[None], np.array([0.02]), np.ones((1, 1)), 2048)[:, 0]
        spectra.append(np.fft.rfft(sensor.record(response, FS, np.random.default_rng(0)), 4096))
    return np.stack(spectra, 1), np.fft.rfftfreq(4096, 1 / FS)


def theory(radius_mm, corrected, directions, frequencies):
    """The same from the response of the capsules."""
    capsules = sensors.tetrahedron(1e-3 * radius_mm).response(directions, frequencies)
    encoder = sensors.encoder(frequencies, 1e-3 * radius_mm * corrected)
    return np.einsum("cmf,mdf->cdf", encoder, capsules)


def deviations(channels, directions):
    """Levels of W and of the dipoles in dB (2, F), and median and largest error of the intensity in degrees (2, F)."""
    ideal = foa_gains(directions).T[..., None]
    levels = 20 * np.log10(np.abs((channels * ideal).sum(1)) / (ideal**2).sum(1))
    intensity = (channels[0].conj() * channels[[3, 1, 2]]).real.transpose(1, 2, 0)
    errors = angular_distance(intensity, directions[:, None])
    return np.stack([levels[0], levels[1:].mean(0)]), np.stack([np.median(errors, 0), errors.max(0)])


def main():
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    directions, coarse = fibonacci_directions(60), np.geomspace(200, 10000, 25)
    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True, sharey="row", layout="constrained")
    for column, corrected in zip(axes.T, (1, 0)):
        for radius, colour in ((12.0, "tab:blue"), (15.0, "tab:orange")):
            channels, frequencies = rendered(radius, float(corrected), directions)
            band = (frequencies > 100) & (frequencies < 10000)
            lines = deviations(channels[..., band], directions)
            dots = deviations(theory(radius, corrected, directions, coarse), directions)
            for row, (line, dot, names) in enumerate(zip(lines, dots, (("W", "dipoles"), ("median", "largest")))):
                for one, other, name, style in zip(line, dot, names, ("-", "--")):
                    column[row].semilogx(frequencies[band], one, style, color=colour, label=f"{radius:g} mm, {name}")
                    column[row].plot(coarse, other, ".", color=colour)
        column[0].set_title("with correction filters" if corrected else "without correction filters")
        column[1].set_xlabel("frequency (Hz)")
    axes[0, 0].set_ylabel("level against ideal ambisonics (dB)")
    axes[1, 0].set_ylabel("error of the intensity (degrees)")
    axes[1, 0].set_ylim(0, 60)
    for one in axes.ravel():
        one.axvline(4000, color="grey", linewidth=0.8)
        one.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8)
    figure.savefig(ROOT / "docs" / "encoder.png", dpi=90)


if __name__ == "__main__":
    main()
