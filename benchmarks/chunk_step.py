"""One training step of ADRENALINE, SELDnet or the CNN: 16 chunks of 25 frames × 1024 bins, SEL loss, AdamW."""

import torch

from benchmarks.plain import PlainADRENALINE, PlainCNN, PlainSELDnet
from benchmarks.training_step import make_target, time_steps
from doanet_parameters import get_params
from localizer import build_model

PLAIN = {"adrenaline": PlainADRENALINE, "seldnet": PlainSELDnet, "cnn": PlainCNN}


def measure(side, name):
    torch.manual_seed(0)
    config = get_params(device="cpu", model=name, loss="sel", max_sources=4, label_sequence_length=25,
                        features="magphase", num_fft_bins=2048, label_hop_len_s=0.02, optimizer="adamw",
                        gradient_clip=1.0)
    model = PLAIN[name]() if side == "plain" else build_model(config)
    features, target = torch.randn(16, 8, 25, 1024), make_target((16, 25, 4), torch.Generator().manual_seed(0))
    return time_steps(side, model, config, features, target)
