"""MAF of 784 dimensions, 5 MADEs with 512 hidden units, batch 128."""

import math

import torch
import torch.nn.functional as F
from common import DENSE as VARIANTS
from common import training
from torch import nn

BATCH, DIMS, LAYERS, HIDDEN = 128, 784, 5, 512


class MaskedLinear(nn.Linear):
    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float())

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class Made(nn.Sequential):
    def __init__(self, order):
        inputs = order + 1
        hidden = 1 + torch.arange(HIDDEN) * (DIMS - 1) // HIDDEN
        super().__init__(
            MaskedLinear(hidden[:, None] >= inputs),
            nn.ReLU(),
            MaskedLinear(inputs.repeat(2)[:, None] > hidden),
        )


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        order = torch.arange(DIMS)
        self.layers = nn.ModuleList(Made(order if i % 2 == 0 else order.flip(0)) for i in range(LAYERS))

    def forward(self, x):
        ladj = 0
        for made in self.layers:
            mu, alpha = made(x).chunk(2, 1)
            x = (x - mu) * (-alpha).exp()
            ladj = ladj - alpha.sum(1)
        return ladj - 0.5 * x.square().sum(1) - 0.5 * DIMS * math.log(2 * math.pi)


def build(variant):
    net = Flow()
    log_density, x = variant.compile(net), torch.randn(BATCH, DIMS)
    return [net], training(net, lambda: -log_density(x).mean())
