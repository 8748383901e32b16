"""FFJORD in the plane, 3 x 64, RK4 of 20 steps with the exact trace, batch 256.

The trace comes from tangents pushed forward by hand, both directions at once: several times faster than
`torch.autograd.grad(..., create_graph=True)` per dimension.
"""

import math

import torch
import torch.nn.functional as F
from common import DENSE as VARIANTS
from common import training
from torch import nn

BATCH, STEPS, WIDTH = 256, 20, 64


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [3, WIDTH, WIDTH, WIDTH, 2]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, widths[1:]))

    def forward(self, x, t):
        """v and its divergence at one time."""
        first, *middle, last = self.layers
        h = first(torch.cat([x, t.expand(len(x), 1)], 1)).tanh()
        u = first.weight[:, :2].t()[:, None] * (1 - h * h)
        for layer in middle:
            h = layer(h).tanh()
            u = F.linear(u, layer.weight) * (1 - h * h)
        # The diagonal of the last product alone.
        return last(h), (u * last.weight[:, None]).sum((0, 2))


def build(variant):
    net = Field()
    field, x = variant.compile(net), torch.randn(BATCH, 2)
    times = torch.linspace(0, 1, 2 * STEPS + 1)

    def loss():
        h, z, integral = 1 / STEPS, x, 0
        for n in range(STEPS):
            start, middle, end = times[2 * n : 2 * n + 3]
            v1, d1 = field(z, start)
            v2, d2 = field(z + h / 2 * v1, middle)
            v3, d3 = field(z + h / 2 * v2, middle)
            v4, d4 = field(z + h * v3, end)
            z = z + h / 6 * (v1 + 2 * (v2 + v3) + v4)
            integral = integral + h / 6 * (d1 + 2 * (d2 + d3) + d4)
        return (0.5 * z.square().sum(1) - integral).mean() + math.log(2 * math.pi)

    return [net], training(net, loss)
