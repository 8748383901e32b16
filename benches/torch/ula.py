"""256 chains on f(x) + |x|²/2, f of 3 x 128 in the plane: one unadjusted Langevin step."""

import math

import torch
from common import DENSE as VARIANTS
from torch import nn

CHAINS, SIZE = 256, 0.01


def target(variant):
    """The network, and energies and gradients at x."""
    net = nn.Sequential(
        nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1)
    ).requires_grad_(False)
    forward = variant.compile(net)

    def energy_and_gradient(x):
        x = x.detach().requires_grad_(True)
        energy = forward(x)[:, 0] + 0.5 * x.square().sum(1)
        (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach(), gradient

    return net, energy_and_gradient


def build(variant):
    net, energy_and_gradient = target(variant)
    x = torch.randn(CHAINS, 2)
    gradient = energy_and_gradient(x)[1]

    def step():
        nonlocal x, gradient
        x = torch.randn_like(x).mul_(math.sqrt(2 * SIZE)).add_(x).sub_(gradient, alpha=SIZE)
        energy, gradient = energy_and_gradient(x)
        return energy

    return [net], step
