"""Run by test_processes.py, plainly and by torchrun: a few steps with each loss, whose weights are compared."""

import sys

import torch

from cls_data_generator import EpochSampler
from doanet_parameters import get_params
from doatools.train.loop import LossWatch, make_fabric, make_optimizer
from doatools.train.losses import build_criterion
from doatools.types import Target
from localizer import build_model

LOSSES = {"dmot": {"gradient_clip": 0.5},
          "mean": {"dmotp": "mean", "ids": "switch", "association_sees": "activity", "association": "sinkhorn"},
          "hungarian": {"association": "hungarian", "activity_gate_deg": 60.0},
          "mse": {"loss": "mse"}, "frame": {"loss": "pit"}, "track": {"loss": "pit", "pit_level": "track"},
          "sel": {"loss": "sel", "sel_slots": "pit"}, "muon": {"optimizer": "muon", "loss": "pit"}}


def main(path):
    torch.set_num_threads(1)
    result = {}
    for name, overrides in LOSSES.items():
        config = get_params(precision="32-true", device="cpu", nb_cnn2d_filt=8, rnn_size=8, fnn_size=8, **overrides)
        fabric = make_fabric(config.device)
        result[name] = train(fabric, config)
    if fabric.is_global_zero:
        torch.save(result, path)


def train(fabric, config):
    """Three batches of 5, 5 and 3 of 13 sequences → mean loss terms and weights."""
    torch.manual_seed(0)
    model = build_model(config)
    features, doa = torch.randn(13, 7, 50, 64), torch.nn.functional.normalize(torch.randn(13, 10, 2, 3), dim=-1)
    activity = (torch.rand(13, 10, 2) > 0.4).float()
    activity[:5] = activity[:1]  # some batches have far more sources than others
    model, optimizer = fabric.setup(model, make_optimizer(model, config.training))
    model.eval()  # batch norm frozen: its statistics would be those of each process's part of a batch
    criterion, watch = build_criterion(config), LossWatch(lambda index: map(str, index))
    clip = config.training.gradient_clip
    for index in EpochSampler(13, 5, True, 0, fabric.global_rank, fabric.world_size):
        target = Target(doa[index] * activity[index].unsqueeze(-1), activity[index])
        terms = criterion(model(features[index]), target)
        fabric.backward(terms["loss"])
        if clip:
            fabric.clip_gradients(model, optimizer, max_norm=clip)
        optimizer.step()
        optimizer.zero_grad()
        watch.add(terms, index)
    return watch.means(), {key: value.clone() for key, value in model.state_dict().items()}


if __name__ == "__main__":
    main(sys.argv[1])
