"""The U-Net's forward pass alone, as a sampler repeats it."""

import torch
from common import IMAGES as VARIANTS
from unet import BATCH, UNet


def build(variant):
    net = variant.layout(UNet()).eval()
    forward = variant.compile(net)
    x, t = variant.layout(torch.rand(BATCH, 1, 28, 28)), torch.rand(BATCH)

    @torch.no_grad()
    def step():
        return forward(x, t)

    return [net], step
