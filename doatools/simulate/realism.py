"""Which parameters make a simulation realistic: rooms, noise and sensors that are not perfect, and a preset of all.

With the defaults rooms have one absorption, noise is diffuse and sensors are perfect; the bytes of a dataset then
follow from the other parameters alone. Whatever differs from these defaults is noted in simulation.json.
"""

from doatools.config.schema import SimulationConfig
from doatools.errors import UserError

VERSION = 2  # increased when the same realistic settings give other bytes

# Parameters that only shape a scene; rooms.Renderer renders them as it is.
COMPOSED = ("empty", "room_m", "offset", "distance_m")
# Parameters that take frequency-dependent walls, directional sources or noise from one side (live_rooms).
ROOMS = ("margin_m", "surface_contrast", "decay_tilt", "directivity", "directional_noise")
# Faults that depend on the direction of a wave, so that measured responses cannot have them.
CAPSULES = ("position_mm", "encoder_mm", "encoder_corrected", "stand_deg")
# Faults of channels and of the recorder, whatever was recorded.
CHANNELS = ("gain_db", "phase_deg", "self_noise", "wind", "dc", "dipole_db", "clipping_db", "low_cut_hz")

# What --realistic sets: common rooms rather than the worst, from which a network does not begin to learn
# (docs/real_rooms.md).
REALISTIC = {
    "sim_rt60_s": [0.15, 1.2], "sim_snr_db": [3.0, 30.0], "sim_elevation_deg": 85.0,
    "sim_room_m": [3.0, 2.5, 2.3, 15.0, 12.0, 5.5], "sim_offset": 0.25, "sim_distance_m": [0.7, 4.0],
    "sim_margin_m": 0.1,
    "sim_surface_contrast": 1.2, "sim_decay_tilt": 0.5, "sim_directivity": 0.3, "sim_directional_noise": 0.2,
    "sim_gain_db": 1.0, "sim_phase_deg": 5.0, "sim_position_mm": 1.0, "sim_self_noise": 0.01, "sim_wind": 0.3,
    "sim_dc": 0.002, "sim_encoder_mm": [12.0, 15.0], "sim_encoder_corrected": 0.4, "sim_dipole_db": [-0.5, 1.5],
    "sim_stand_deg": 2.0, "sim_clipping_db": 3.0, "sim_low_cut_hz": 80.0,
}


def default(field):
    return SimulationConfig.model_fields[field].default


def differing(simulation, fields):
    """Those of ``fields`` that are not at their defaults."""
    return [field for field in fields if getattr(simulation, field) != default(field)]


def is_realistic(simulation):
    """Whether scenes need live_rooms.LiveRenderer."""
    return bool(differing(simulation, ROOMS + CAPSULES + CHANNELS))


def notes(simulation):
    """{flat name: value} of the parameters here that are not at their defaults, for the manifest, with the version of
    what renders them."""
    fields = differing(simulation, COMPOSED + ROOMS + CAPSULES + CHANNELS)
    values = {field: getattr(simulation, field) for field in fields}
    noted = {f"sim_{field}": list(value) if isinstance(value, tuple) else value for field, value in values.items()}
    return noted | ({"realism": VERSION} if is_realistic(simulation) else {})


def refuse(simulation, fields, why):
    """UserError naming the first of ``fields`` that is not at its default."""
    for field in differing(simulation, fields):
        value = default(field)
        raise UserError(f"sim_{field}: {why}; leave it at {list(value) if isinstance(value, tuple) else value}")
