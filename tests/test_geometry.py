"""Directions at the places where formulas break: 0°, 180° and the poles."""

import numpy as np
import pytest

from doatools.spatial.geometry import angular_distance, azimuth_elevation, pairwise_angles, unit_vectors


def test_axes():
    assert np.allclose(unit_vectors(0, 0), [1, 0, 0])
    assert np.allclose(unit_vectors(90, 0), [0, 1, 0])
    assert np.allclose(unit_vectors(0, 90), [0, 0, 1])


def test_there_and_back():
    azimuth, elevation = np.meshgrid(np.arange(-179, 181, 7), np.arange(-89, 90, 7))
    back = azimuth_elevation(unit_vectors(azimuth, elevation))
    assert np.allclose(back[0], azimuth) and np.allclose(back[1], elevation)


@pytest.mark.parametrize("angle", [0, 1e-6, 1e-3, 1, 90, 179, 180 - 1e-3, 180 - 1e-6, 180])
def test_distance_is_exact_from_nothing_to_opposite(angle):
    assert angular_distance(unit_vectors(0, 0), unit_vectors(angle, 0)) == pytest.approx(angle, rel=1e-9, abs=1e-9)
    from_pole = angular_distance(unit_vectors(33, 90), unit_vectors(33, 90 - angle))
    assert from_pole == pytest.approx(angle, rel=1e-7, abs=1e-9)


def test_distance_ignores_length_and_azimuth_at_a_pole():
    assert angular_distance(unit_vectors(-70, 90) * 5, unit_vectors(120, 90)) == pytest.approx(0, abs=1e-6)


def test_all_pairs_at_once_are_the_same():
    rng = np.random.default_rng(0)
    for frames, n, m in ((0, 2, 2), (5, 0, 2), (5, 2, 0), (7, 2, 3), (20000, 2, 1)):
        a, b = rng.normal(size=(frames, n, 3)), rng.normal(size=(frames, m, 3)).astype(np.float32)
        if n and m:
            b[::3, 0] = 4 * a[::3, 0]
        expected = angular_distance(a[:, :, None], b[:, None].astype(float))
        assert np.allclose(pairwise_angles(a, b), expected, rtol=1e-12, atol=1e-12)
    angles = np.array([0, 1e-6, 1e-3, 1, 90, 179, 180 - 1e-3, 180 - 1e-6, 180])
    assert pairwise_angles(unit_vectors(0, [[0.0]]), unit_vectors(angles, 0)[None])[0, 0] == pytest.approx(
        angles, rel=1e-9, abs=1e-9)
