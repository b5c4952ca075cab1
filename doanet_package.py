"""Where are the sound sources? DOAnet localizes and tracks them in recordings of a microphone array, or live.

    import doanet

    localizer = doanet.load_localizer()                     # the shipped model for first-order ambisonics
    recorded = doanet.track_file(localizer, "meeting.wav")  # .rows: frame, track, azimuth, elevation, probability
    rows = doanet.track_audio(localizer, audio, fs)         # audio: float array (samples, channels)
    found = doanet.localize_audio(localizer, audio, fs)    # directions and probabilities, before tracking
    found = doanet.localize_features(localizer, features)  # the same from features of localizer.features.extract

Frames last ``localizer.config.features.label_hop_len_s`` (0.1 s). Azimuth is counter-clockwise from the front,
elevation up, in degrees; directions inside are unit vectors x (front), y (left), z (up). doanet.inference documents
each function, doanet.doatools.types what flows between them. Names are loaded when they are first used.

This file becomes ``doanet/__init__.py`` of the installed package (setup.py); from a clone, import ``inference``.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doatools.errors import UserError
    from doatools.types import Predictions
    from inference import (
        TRACK_ROWS,
        Localized,
        Recorded,
        Tracked,
        load_localizer,
        localize_audio,
        localize_features,
        track_audio,
        track_file,
        track_sound,
    )

__all__ = ["TRACK_ROWS", "Localized", "Predictions", "Recorded", "Tracked", "UserError", "load_localizer",
           "localize_audio", "localize_features", "track_audio", "track_file", "track_sound"]

_ELSEWHERE = {"Predictions": "doatools.types", "UserError": "doatools.errors"}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module 'doanet' has no attribute '{name}'")
    return getattr(importlib.import_module(f"doanet.{_ELSEWHERE.get(name, 'inference')}"), name)


def __dir__():
    return sorted(__all__)
