"""Every component by name: models, feature sets, losses, associations, readers, writers, trackers, metrics, baselines.

A new component is one class and one line here: its name, where it is ("module:attribute"), and its title in tables and
plots. The choices of parameters, the help and the tables follow. Components are imported when they are first used, so
``--help`` and a mistyped parameter do not wait for PyTorch.

The module of the first component of each kind states what the others must offer.
"""

import contextlib
import importlib

from doatools.errors import UserError, nearest

_PREFIX = __name__.removesuffix("doatools.registry")  # 'doanet.' in the installed package


class Registry:
    """The components of one kind.

    Parameters
    ----------
    kind : what they are called in messages
    entries : {name: ("module:attribute", title)}
    """

    def __init__(self, kind, entries):
        self.kind = kind
        self._entries = dict(entries)

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __contains__(self, name):
        return name in self._entries

    def __getitem__(self, name):
        """The class or function of that name; UserError if there is none."""
        if name not in self._entries:
            raise UserError(f"unknown {self.kind} '{name}'.{nearest(name, self)} Known: {', '.join(self)}")
        target = self._entries[name][0]
        if not isinstance(target, str):
            return target
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(_PREFIX + module), attribute)

    def title(self, name):
        """Its name in tables and plots."""
        return self._entries[name][1]

    def add(self, name, component, title=None):
        """Register a class; a name that is taken is refused."""
        if name in self._entries:
            raise UserError(f"the {self.kind} '{name}' exists already")
        self._entries[name] = (component, title or name)

    @contextlib.contextmanager
    def adding(self, name, component, title=None):
        """Register a component for as long as the context lasts."""
        self.add(name, component, title)
        try:
            yield
        finally:
            del self._entries[name]


MODELS = Registry("model", {
    "doanet": ("doanet_model:DOAnet", "DOAnet"),
    "doanet_radius": ("doanet_model:DOAnetRadius", "DOAnet with an error radius"),
    "bearing": ("bearing_model:BearingNet", "BearingNet"),
    "adrenaline": ("adrenaline_model:ADRENALINE", "ADRENALINE"),
    "seldnet": ("adrenaline_model:SELDnet", "SELDnet"),
    "cnn": ("adrenaline_model:CNN", "CNN"),
})
FEATURES = Registry("feature set", {
    "foa": ("cls_feature_class:FoaFeatures", "log-mel and intensity vector"),
    "mic": ("cls_feature_class:MicFeatures", "log-mel and GCC-PHAT"),
    "vectors": ("cls_feature_class:VectorFeatures", "log-mel and gradient vectors"),
    "steered": ("cls_feature_class:SteeredFeatures", "log-mel and steered vectors"),
    "magphase": ("cls_feature_class:MagnitudePhase", "magnitude and phase"),
})
LOSSES = Registry("loss", {
    "dmot": ("doatools.train.losses:DMOTLoss", "dMOTp and dMOTa"),
    "mse": ("doatools.train.losses:MSELoss", "mean squared error"),
    "pit": ("doatools.train.losses:PITLoss", "permutation-invariant training"),
    "sel": ("doatools.train.losses:SELLoss", "great-circle distance (ADRENALINE)"),
})
ASSOCIATIONS = Registry("association", {
    "hnet": ("hnet_model:HnetAssociation", "Hnet"),
    "hungarian": ("doatools.train.losses:HungarianAssociation", "exact matching"),
    "sinkhorn": ("doatools.train.losses:SinkhornAssociation", "Sinkhorn"),
})
HNETS = Registry("Hnet architecture", {
    "equivariant": ("hnet_model:EquivariantNet", "permutation-equivariant layers"),
    "gru": ("hnet_model:GruNet", "GRU and self-attention, as published"),
})
READERS = Registry("dataset format", {
    "dcase": ("doatools.data.readers:Dcase", "TAU-NIGENS 2020 and folders like it"),
    "tut2018": ("doatools.data.readers:Tut2018", "TUT Sound Events 2018"),
    "dcase2021": ("doatools.data.readers:Dcase2021", "TAU-NIGENS 2021"),
    "starss22": ("doatools.data.readers:Starss22", "STARSS22"),
    "starss23": ("doatools.data.readers:Starss23", "STARSS23"),
    "locata": ("doatools.data.readers:Locata", "LOCATA"),
})
WRITERS = Registry("dataset format", {
    "dcase2020": ("doatools.simulate.writers:Dcase2020", "TAU-NIGENS 2020"),
    "tut2018": ("doatools.simulate.writers:Tut2018", "TUT Sound Events 2018"),
    "dcase2021": ("doatools.simulate.later_writers:Dcase2021", "TAU-NIGENS 2021"),
    "starss22": ("doatools.simulate.later_writers:Starss22", "STARSS22"),
    "starss23": ("doatools.simulate.later_writers:Starss23", "STARSS23"),
    "locata": ("doatools.simulate.later_writers:Locata", "LOCATA"),
})
TRACKERS = Registry("tracker", {
    "off": ("doatools.track.trackers:SlotTracker", "slots are identities"),
    "nearest": ("doatools.track.trackers:NearestTracker", "nearest neighbour"),
    "kalman": ("doatools.track.trackers:KalmanTracker", "Kalman filter"),
})
METRICS = Registry("metric", {
    "frame": ("cls_metric:FrameScores", "frames"),
    "clear": ("cls_metric:ClearMOT", "CLEAR MOT"),
    "identity": ("cls_metric:Identity", "identity"),
    "hota": ("cls_metric:HOTA", "HOTA"),
    "segment": ("cls_metric:Segments", "segments of one second"),
    "class": ("doatools.metrics.classes:ClassScores", "classes"),
    "locata": ("doatools.metrics.locata:LocataScores", "LOCATA"),
})
BASELINES = Registry("baseline", {
    "intensity": ("doatools.track.baselines:Intensity", "intensity histogram"),
    "srp": ("doatools.track.baselines:SRP", "SRP-PHAT"),
    "music": ("doatools.track.baselines:MUSIC", "MUSIC"),
})
