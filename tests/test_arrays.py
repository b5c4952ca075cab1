"""Arrays against independent formulations: what a plane wave does at each channel."""

import numpy as np
import pytest
from scipy.special import eval_legendre, spherical_jn, spherical_yn

from doatools.spatial.arrays import (
    ARRAYS,
    SPEED_OF_SOUND,
    Array,
    fibonacci_directions,
    foa_gains,
    rigid_sphere_response,
)
from doatools.spatial.geometry import unit_vectors

MIC = ARRAYS["mic"]


@pytest.mark.parametrize("azimuth, elevation", [(0, 0), (90, 0), (-120, 35), (10, -80)])
def test_foa_gains_are_acn_sn3d(azimuth, elevation):
    az, el = np.deg2rad(azimuth), np.deg2rad(elevation)
    expected = [1, np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)]
    np.testing.assert_allclose(foa_gains(unit_vectors(azimuth, elevation)), expected, atol=1e-12)


def test_rigid_sphere_is_transparent_at_low_frequency():
    response = rigid_sphere_response(np.linspace(-1, 1, 9), np.array([0.0, 1e-6, 1e-3]))
    np.testing.assert_allclose(response, 1, atol=2e-3)


def test_rigid_sphere_low_frequency_phase_leads_by_one_and_a_half_paths():
    """Below kR = 0.1 the sphere delays like 1.5 times the path R cos(gamma) of free capsules."""
    cosines, x = np.linspace(-1, 1, 9), 0.02
    phase = np.angle(rigid_sphere_response(cosines, np.array([x])))[:, 0]
    np.testing.assert_allclose(phase, 1.5 * x * cosines, atol=1e-3 * x + x**2)


def test_rigid_sphere_front_is_louder_than_side_and_tends_to_doubling():
    front, side, _ = np.abs(rigid_sphere_response(np.cos(np.deg2rad([0, 110, 180])), np.array([8.0, 40.0])))
    assert (front > 1.5 * side).all()
    assert front[1] == pytest.approx(2, abs=0.05)  # a wall doubles the pressure


def test_rigid_sphere_agrees_with_incident_plus_scattered_field():
    """The published formula is the Wronskian of: sum i^n (2n+1) P_n [j_n - j_n'/h_n' h_n]."""
    x, cosines = np.linspace(0.05, 9.5, 40), np.linspace(-1, 1, 13)
    expected = 0
    for n in range(31):
        j, dj = spherical_jn(n, x), spherical_jn(n, x, True)
        h, dh = j - 1j * spherical_yn(n, x), dj - 1j * spherical_yn(n, x, True)
        expected = expected + np.outer(1j**n * (2 * n + 1) * eval_legendre(n, cosines), j - dj / dh * h)
    np.testing.assert_allclose(rigid_sphere_response(cosines, x), expected, atol=1e-8)


def test_rigid_sphere_is_finite_from_subsonic_to_large():
    response = rigid_sphere_response(np.linspace(-1, 1, 5), np.geomspace(1e-12, 60, 200))
    assert np.isfinite(response).all()
    assert np.abs(response).max() < 2.1


def test_open_sphere_is_a_pure_delay():
    array = Array("pair", "open", ((0, 0), (180, 0)), 0.1)
    frequencies = np.array([100.0, 1000.0])
    response = array.response(unit_vectors(0.0, 0.0)[None], frequencies)
    shift = 2j * np.pi * frequencies * 0.1 / SPEED_OF_SOUND
    np.testing.assert_allclose(response[:, 0], np.exp([shift, -shift]), atol=1e-12)


def test_response_picks_each_capsules_own_angle():
    """A wave from a capsule's direction reaches that capsule first (largest phase) and loudest."""
    response = MIC.response(MIC.capsules, np.array([500.0, 4000.0]))  # (M, D = M, 2)
    assert (np.angle(response[..., 0]).argmax(axis=0) == np.arange(4)).all()
    assert (np.abs(response[..., 1]).argmax(axis=0) == np.arange(4)).all()


def test_response_of_ambisonics_is_its_gains():
    directions = fibonacci_directions(20)
    response = ARRAYS["foa"].response(directions, np.array([0.0, 5000.0]))
    np.testing.assert_allclose(response[..., 1], foa_gains(directions).T)


def test_fibonacci_directions_are_even():
    directions = fibonacci_directions(400)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.T @ directions / 400, np.eye(3) / 3, atol=2e-3)


def test_bad_arrays_are_refused():
    with pytest.raises(ValueError, match="kind"):
        Array("x", "cardioid")
    with pytest.raises(ValueError, match="radius"):
        Array("x", "rigid", ((0, 0),))
