"""Optimizers of a TrainConfig.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): the step of an inner weight matrix
is its momentum, orthogonalised by a Newton-Schulz iteration, scaled as in Liu et al. 2025 ("Muon is scalable for LLM
training") so that its size is that of AdamW's. torch.optim.Muon takes matrices only; here a convolution counts as a
matrix (out, in·kernel) and a GRU's weight as three, one per gate. All other parameters are AdamW's.
"""

import torch

MUON_RATE = 5.0  # times the learning rate, which is AdamW's
MOMENTUM = 0.95
SMALLEST = 16  # rows and columns of an inner weight; what is smaller (output layers) is AdamW's


def make_optimizer(model, training, fused=False):
    """The optimizer of a TrainConfig; ``fused``: one kernel for all weights, for a GPU."""
    settings = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimizer == "muon":
        return Muon(model, **settings)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    return kind(model.parameters(), **settings, fused=fused or None)


def orthogonalised(matrices, steps=5):
    """The nearest matrices with orthonormal rows or columns, roughly: (..., rows, columns) → the same shape."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """Muon for inner weights, AdamW for the rest."""

    def __init__(self, model, lr, weight_decay):
        groups = {}  # matrices in a weight (0: AdamW's) → parameters
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                groups.setdefault(_matrices(module, name, parameter), []).append(parameter)
        super().__init__([{"params": parameters, "matrices": matrices, "lr": lr * (MUON_RATE if matrices else 1)}
                          for matrices, parameters in sorted(groups.items())], lr=lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure=None):
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["matrices"]]
        loss = super().step(closure)
        self.param_groups = groups
        for group in groups:
            for parameter in group["params"] if group["matrices"] else ():
                if parameter.grad is not None:
                    self._step(parameter, group)
        return loss

    def _step(self, parameter, group):
        state = self.state[parameter]
        if not state:  # AdamW looks for a step in every state that it loads
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(parameter))
        momentum = state["momentum"]
        momentum.lerp_(parameter.grad, 1 - MOMENTUM)
        gradient = parameter.grad.lerp(momentum, MOMENTUM)  # Nesterov
        gradient = gradient.reshape(group["matrices"], parameter.shape[0] // group["matrices"], -1)
        update = orthogonalised(gradient)
        update = update * (0.2 * max(update.shape[-2:]) ** 0.5)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"])


def _matrices(module, name, parameter):
    """How many matrices a parameter is a stack of; 0 for one that is none."""
    if name.startswith("weight") and isinstance(module, torch.nn.GRU):
        return 3
    layer = isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and name == "weight"
    return int(layer and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST)
