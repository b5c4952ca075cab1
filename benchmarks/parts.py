"""What is measured: the module and sides of each part, and the targets that its figures should reach."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks import work


class Bar(NamedTuple):
    """A target of a part."""

    what: str
    limit: float
    value: Callable  # {part: {side: seconds}} → the figure, KeyError where a part was not measured
    least: bool = True  # whether the limit is the least or the largest permitted value
    unit: str = ""

    def line(self, seconds):
        """The figure and whether it reaches the target; None if a part that it needs was not measured."""
        try:
            value = self.value(seconds)
        except KeyError:
            return None
        met = value >= self.limit if self.least else value <= self.limit
        return (f"{self.what}: {value:.3g}{self.unit} ({'at least' if self.least else 'at most'} "
                f"{self.limit:g}{self.unit}: {'met' if met else '**not met**'})")


class Part(NamedTuple):
    """A module of this folder with ``measure(side, *arguments) -> {"seconds", "peak_mib"}``.

    The first side is the one that the others are compared with.
    """

    module: str
    arguments: tuple = ()
    sides: tuple = ("plain", "ours")
    threads: int = 2
    repeats: int | None = None  # turns of each side, if fewer than usual are enough
    work: dict = {}  # side → Work  # noqa: RUF012


def faster(part, limit, side="ours"):
    return Bar(f"{part}, times the plain version", limit, lambda s: s[part]["plain"] / s[part][side])


STEP = {"auto": work.doanet(64, True, 2, "bfloat16"), "32-true": work.doanet(64, True)}
MINUTE = {side: work.doanet(12, False, *kind) for side, kind in {
    "localize": (4, "float32"), "32-true": (4, "float32"), "bf16-mixed": (2, "bfloat16")}.items()}
PARTS = {
    "features_foa": Part("features", ("foa",), ("plain", "read + FFT", "ours"), 1, work={"ours": work.features("foa")}),
    "features_mic": Part("features", ("mic",), ("plain", "read + FFT", "ours"), 1, work={"ours": work.features("mic")}),
    "second_core": Part("cores", sides=("1 process", "2 processes"), threads=1),
    "batch_loading": Part("loading", threads=1, work={"ours": work.loading()}),
    "training_step": Part("training_step", sides=("plain", "auto", "32-true"), work=STEP),
    "inference": Part("inference", sides=("plain", "localize", "32-true", "bf16-mixed"), work=MINUTE),
    "dmot_loss": Part("loss", work={"ours": work.tracking_loss()}),
    "adrenaline_step": Part("chunk_step", ("adrenaline",),
                            work={"ours": work.adrenaline(value=2, dtype="bfloat16")}),
    "seldnet_step": Part("chunk_step", ("seldnet",)),
    "cnn_step": Part("chunk_step", ("cnn",)),
    "frame_scores": Part("frame_scores", threads=1, work={"ours": work.scoring()}),
    "simulation": Part("simulation", sides=("perfect", "realistic", "three sources", "one array"), threads=1,
                       repeats=1),
    "wav_to_tracks": Part("chain", threads=1, work={"ours": work.chain()}),
}
TIMES, COUNTS = ("1", "2", "4", "8"), ("10", "100")
GROWTH = {
    "features_by_recordings": Part("growth", ("extraction",), TIMES, 1, 1),
    "features_by_duration": Part("growth", ("duration",), TIMES, 1, 1),
    "frame_scores_by_frames": Part("growth", ("scores",), TIMES, 1, 1),
    "training_step_by_batch": Part("growth", ("step",), TIMES, 2, 1),
    "memory_of_extraction": Part("growth", ("memory of extraction",), COUNTS, 1, 1),
    "memory_of_training": Part("growth", ("memory of training",), COUNTS, 2, 1),
}
MACHINE = {"machine": Part("machine", sides=("1 thread", "2 threads"), repeats=1)}
ALL = PARTS | GROWTH | MACHINE

BARS = (
    Bar("FOA features of a minute", 0.077, lambda s: s["features_foa"]["ours"], False, " s"),
    Bar("MIC features of a minute", 0.115, lambda s: s["features_mic"]["ours"], False, " s"),
    Bar("extraction with the second core, times one", 1.8,
        lambda s: s["second_core"]["1 process"] / s["second_core"]["2 processes"]),
    faster("training_step", 4, "auto"),
    Bar("loading of a batch", 5, lambda s: 1000 * s["batch_loading"]["ours"], False, " ms"),
    Bar("loading of a batch, share of a training step", 5,
        lambda s: 100 * s["batch_loading"]["ours"] / s["training_step"]["auto"], False, " %"),
    faster("adrenaline_step", 3),
    faster("seldnet_step", 2),
    faster("cnn_step", 2),
    Bar("scoring, million frames a second", 2, lambda s: 0.06 / s["frame_scores"]["ours"]),
    Bar("realistic simulation by two processes, times real time", 40,
        lambda s: 2 * 60 / s["simulation"]["realistic"]),
    Bar("WAV to tracks, times real time", 100, lambda s: 60 / s["wav_to_tracks"]["ours"]),
)
MEMORY_BAR = 1.10  # peak memory from 10 to 100 recordings
