"""RealNVP in the plane, 8 affine couplings of 64-64, batch 512."""

import math

import torch
from common import DENSE as VARIANTS
from common import training
from torch import nn

BATCH, COUPLINGS = 512, 8


def coupling():
    return nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.nets = nn.ModuleList(coupling() for _ in range(COUPLINGS))

    def forward(self, x):
        z, scales = list(x.chunk(2, 1)), []
        for i, net in enumerate(self.nets):
            kept, moved = i % 2, 1 - i % 2
            s, t = net(z[kept]).chunk(2, 1)
            s = s.tanh()
            z[moved] = z[moved] * s.exp() + t
            scales.append(s)
        squares = 0.5 * (z[0].square() + z[1].square())
        return (squares - sum(scales)).mean() + math.log(2 * math.pi)


def build(variant):
    net = Flow()
    loss, x = variant.compile(net), torch.randn(BATCH, 2)
    return [net], training(net, lambda: loss(x))
