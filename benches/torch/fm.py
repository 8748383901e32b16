"""Flow matching in the plane, 3 x 256 with 32 features of time, batch 512."""

import torch
from common import DENSE as VARIANTS
from common import training
from torch import nn

BATCH, FEATURES = 512, 32


def sinusoidal(t, size):
    """sin and cos of t at size / 2 frequencies from 1 to 100."""
    frequencies = 100.0 ** torch.linspace(0, 1, size // 2)
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [2 + FEATURES, 256, 256, 256]
        layers = [m for i, o in zip(widths, widths[1:]) for m in (nn.Linear(i, o), nn.SiLU())]
        self.mlp = nn.Sequential(*layers, nn.Linear(256, 2))

    def forward(self, x):
        z, t = torch.randn_like(x), torch.rand(len(x))
        along = z - x
        v = self.mlp(torch.cat([x + t[:, None] * along, sinusoidal(t, FEATURES)], 1))
        return (v - along).square().mean()


def build(variant):
    net = Net()
    loss, x = variant.compile(net), torch.randn(BATCH, 2)
    return [net], training(net, lambda: loss(x))
