"""U-Net on 28x28 (base 32, multipliers 1-2-2, group norm + SiLU, time), batch 64: noise-prediction step."""

import torch
import torch.nn.functional as F
from common import IMAGES as VARIANTS
from common import training
from fm import sinusoidal
from torch import nn

BATCH, BASE, MULTIPLIERS, EMBEDDING = 64, 32, [1, 2, 2], 64


def norm(channels):
    groups = next(g for g in range(8, 0, -1) if channels % g == 0 and channels // g >= 4)
    return nn.GroupNorm(groups, channels)


class Block(nn.Module):
    """skip(x) + conv(silu(norm(conv(silu(norm(x))) + W e)))"""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.time = nn.Linear(EMBEDDING, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, e):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(e)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        *channels, middle = [m * BASE for m in MULTIPLIERS]
        self.time = nn.Sequential(
            nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU()
        )
        self.stem = nn.Conv2d(1, BASE, 3, padding=1)
        self.down, self.pool, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width = BASE
        for out in channels:
            self.down.append(Block(width, out))
            self.pool.append(nn.Conv2d(out, out, 3, 2, 1))
            width = out
        self.mid = nn.ModuleList([Block(width, middle), Block(middle, middle)])
        width = middle
        for out in reversed(channels):
            self.up.append(Block(width + out, out))
            width = out
        self.norm, self.head = norm(width), nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x, t):
        e = self.time(sinusoidal(t, EMBEDDING))
        h, skips = self.stem(x), []
        for block, pool in zip(self.down, self.pool):
            h = block(h, e)
            skips.append(h)
            h = pool(h)
        for block in self.mid:
            h = block(h, e)
        for block in self.up:
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0), skips.pop()], 1), e)
        return self.head(F.silu(self.norm(h)))


def build(variant):
    net = variant.layout(UNet())
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    forward, x = variant.compile(net), variant.layout(torch.rand(BATCH, 1, 28, 28))

    def loss():
        e = torch.randn_like(x)
        return (forward(x + e, torch.rand(BATCH)) - e).square().mean()

    return [net], training(net, loss)
