"""Energy of 3 x 128 in the plane, 40 Langevin steps and a contrastive step, batch 256."""

import math

import torch
from common import DENSE as VARIANTS
from common import adam
from torch import nn

BATCH, STEPS, SIZE = 256, 40, 0.01


def build(variant):
    net = nn.Sequential(
        nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1)
    )
    energy, optimiser = variant.compile(net), adam(net)
    data = torch.randn(BATCH, 2)

    def step():
        net.requires_grad_(False)
        x = torch.randn(BATCH, 2)
        for _ in range(STEPS):
            x.requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy(x).sum(), x)
            x = torch.randn_like(x).mul_(math.sqrt(2 * SIZE)).add_(x.detach()).sub_(gradient, alpha=SIZE)
        net.requires_grad_(True)
        optimiser.zero_grad(set_to_none=True)
        loss = energy(data).mean() - energy(x).mean()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return [net], step
