"""Export a trained network to ONNX and verify it. Its metadata has all that is needed to use it without this toolkit.
"""

import argparse
import json
import math
import sys
import warnings
from pathlib import Path

from doatools.errors import UserError, exits_cleanly
from doatools.files import has_suffix, in_memory, replacing
from doatools.seals import SEAL, UNSEALED, sealed

OPSET = 18
TOLERANCE = 1e-4
PACKAGES = "onnx==1.23.2 onnxruntime==1.31.1"
READING = """Input 'features' (batch, channel, feature frame, band): normalised features, (feature - mean) / scale,
where mean and scale are channel-major (channel * bands + band). Feature frames: sample rate params.fs, hop
params.hop_len_s, Hann window of two hops, FFT length the next power of two; see cls_feature_class.py of the DOAnet
toolkit. Outputs, one frame per params.label_hop_len_s: 'doa' (batch, frame, slot, 3), unit vectors with x front, y
left, z up; 'probability' (batch, frame, slot) of activity, if the model predicts it."""


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 export_doanet.py results/1_first/best.pt      -> results/1_first/best.onnx\n"
               "         python3 localize.py recording.wav --checkpoint results/1_first/best.onnx")
    parser.add_argument("checkpoint", type=Path, help="checkpoint of train_doanet.py")
    parser.add_argument("--out", type=Path, help="file to write (default: the checkpoint with the suffix .onnx)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    path = args.out or args.checkpoint.with_suffix(".onnx")
    if not has_suffix(path, ".onnx"):
        raise UserError(f"--out {path}: the name of an ONNX file ends with .onnx")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(f"the export needs more packages ({error}): pip install {PACKAGES}") from None
    from localizer import Localizer
    localizer = Localizer.from_checkpoint(args.checkpoint).for_inference()
    if localizer.delay is not None:
        raise UserError(f"{args.checkpoint}: a causal model keeps a state from frame to frame, which an exported "
                        "network cannot; use it with PyTorch, or export a model of causal=False")
    with replacing(path) as temporary:
        export(localizer, temporary)
        differences = compare(localizer, temporary)
        for (batch, frames), difference in differences.items():
            print(f"batch {batch}, {frames} feature frames: largest difference {difference:.1e}")
        if not all(difference <= TOLERANCE for difference in differences.values()):  # NaN is not
            raise UserError(f"{args.checkpoint}: the outputs of the exported network differ from those of PyTorch by "
                            f"more than {TOLERANCE:g}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; use it: python3 localize.py RECORDING --checkpoint {path}")
    return 0


def export(localizer, path):
    """Write a localizer to one ONNX file; its parameters, scaler and array are JSON in the metadata, key 'doanet'."""
    import onnx
    import torch

    class Exported(torch.nn.Module):
        """Features → directions, probabilities if the model predicts them, and further outputs."""

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, features):
            found = self.model(features)
            activity = [] if found.activity_logits is None else [torch.sigmoid(found.activity_logits)]
            return (found.doa, *activity, *(found.others or {}).values())

    inputs = torch.from_numpy(example(localizer, 2, sequence(localizer)))
    with torch.inference_mode():
        found = localizer.model(inputs)
    outputs = ["doa", *["probability"] * (found.activity_logits is not None), *(found.others or {})]
    axes = {name: {0: "batch"} for name in ("features", *outputs)}
    if any_length(localizer):
        axes["features"][2] = "feature_frames"
        for name in outputs:
            axes[name][1] = "frames"

    def write(file):
        with warnings.catch_warnings():
            # The newer exporter (dynamo) silently fixes the number of frames of a GRU.
            warnings.simplefilter("ignore")
            torch.onnx.export(Exported(localizer.model), (inputs,), file, input_names=["features"],
                              output_names=outputs, dynamic_axes=axes, opset_version=OPSET, dynamo=False)

    model = onnx.load_from_string(bytes(in_memory(write)))
    scaler = {"mean": localizer.scaler.mean.tolist(), "scale": localizer.scaler.scale.tolist()}
    scores = {name: None if value is None or math.isnan(value) else float(value)
              for name, value in localizer.scores.items()}
    content = {"params": localizer.config.stored(), "scaler": scaler, "array": localizer.trained_for.plain(),
               "scores": scores}
    onnx.helper.set_model_props(model, {"doanet": json.dumps(content), "reading": READING, SEAL: UNSEALED})
    model.producer_name = "DOAnet toolkit"
    onnx.checker.check_model(model)
    path.write_bytes(sealed(model.SerializeToString()))


def sequence(localizer):
    """Feature frames of a training sequence."""
    return localizer.config.batches.label_sequence_length * localizer.features.ratio


def example(localizer, batch, frames, seed=0):
    """Noise as normalised features, float32."""
    import numpy as np
    features = localizer.features
    shape = batch, features.nb_feature_channels, frames, features.nb_bands
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def any_length(localizer):
    """Whether the network reads sequences of any length, not only that of training."""
    try:
        localizer.predict(example(localizer, 1, 2 * sequence(localizer)))
    except UserError:
        return False
    return True


def compare(localizer, path):
    """Largest differences between the outputs of ONNX Runtime and PyTorch, {(batch, feature frames): difference}."""
    import numpy as np

    from inference import OnnxLocalizer
    exported, length, ratio = OnnxLocalizer(path), sequence(localizer), localizer.features.ratio
    lengths = (ratio, length, 2 * length + 3 * ratio) if any_length(localizer) else (length,)
    differences = {}
    for seed, (batch, frames) in enumerate((batch, frames) for batch in (1, 2, 5) for frames in lengths):
        features = example(localizer, batch, frames, seed + 1)
        try:
            ours, theirs = localizer.predict(features), exported.predict(features)
        except Exception as error:  # the exceptions of ONNX Runtime have no common base
            raise UserError(f"this network ({localizer.config.model.model}) cannot be exported: the result fails for a "
                            f"batch of {batch} and {frames} frames ({str(error).splitlines()[0]})") from None
        pairs = [(ours.doa, theirs.doa), *((values, theirs.others[name]) for name, values in ours.others.items())]
        pairs += [] if ours.probability is None else [(ours.probability, theirs.probability)]
        differences[batch, frames] = float(np.max([np.abs(one - other).max() for one, other in pairs]))  # NaN stays
    return differences


if __name__ == "__main__":
    sys.exit(main())
