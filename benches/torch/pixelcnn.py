"""Gated PixelCNN on 28x28, 5 layers of 64 channels, batch 32.

Kernels are cut to the pixels before, not masked; what the symmetric padding adds at the end is sliced off.
"""

import torch
import torch.nn.functional as F
from common import IMAGES as VARIANTS
from common import training
from torch import nn

BATCH, CHANNELS, LAYERS = 32, 64, 5


class Causal(nn.Conv2d):
    """Rows above (and its own), or columns on the left (and its own)."""

    def __init__(self, inputs, outputs, kernel, vertical, strict):
        half = kernel // 2
        reach = half if strict else half + 1
        size, padding = ((reach, kernel), half) if vertical else ((1, reach), (0, half))
        super().__init__(inputs, outputs, size, padding=padding)

    def forward(self, x):
        return super().forward(x)[:, :, : x.shape[2], : x.shape[3]]


def gate(x):
    a, b = x.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class Layer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.vertical = Causal(channels, 2 * channels, 3, True, False)
        self.across = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.horizontal = Causal(channels, 2 * channels, 3, False, False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, v, h):
        p = self.vertical(v)
        return gate(p), h + self.out(gate(self.horizontal(h) + self.across(p)))


class PixelCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.vertical = Causal(1, CHANNELS, 7, True, True)
        self.horizontal = Causal(1, CHANNELS, 7, False, True)
        self.layers = nn.ModuleList(Layer(CHANNELS) for _ in range(LAYERS))
        self.head = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, x):
        v, h = self.vertical(x), self.horizontal(x)
        for layer in self.layers:
            v, h = layer(v, h)
        return F.binary_cross_entropy_with_logits(self.head(h.relu()), x, reduction="sum") / len(x)


def build(variant):
    net = variant.layout(PixelCnn())
    loss, x = variant.compile(net), variant.layout(torch.rand(BATCH, 1, 28, 28).round())
    return [net], training(net, lambda: loss(x))
