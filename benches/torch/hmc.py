"""The chains of ula.py: one Hamiltonian trajectory of ten leapfrogs, accepted or not."""

import torch
from common import DENSE as VARIANTS
from ula import CHAINS, target

SIZE, LEAPFROGS = 0.1, 10


def build(variant):
    net, energy_and_gradient = target(variant)
    x = torch.randn(CHAINS, 2)
    energy, gradient = energy_and_gradient(x)

    def step():
        nonlocal x, energy, gradient
        p = torch.randn_like(x)
        before = energy + 0.5 * p.square().sum(1)
        y, slope = x, gradient
        for _ in range(LEAPFROGS):
            p = p.sub(slope, alpha=0.5 * SIZE)
            y = y.add(p, alpha=SIZE)
            there, slope = energy_and_gradient(y)
            p = p.sub(slope, alpha=0.5 * SIZE)
        accept = torch.rand(CHAINS).log() < before - there - 0.5 * p.square().sum(1)
        energy = torch.where(accept, there, energy)
        x, gradient = (torch.where(accept[:, None], new, old) for new, old in ((y, x), (slope, gradient)))
        return energy

    return [net], step
