"""DCGAN on 28x28 (100 -> 7*7*128 -> 64 -> 1; critic 64-128) without normalisation, batch 64: both move once."""

import torch
import torch.nn.functional as F
from common import IMAGES as VARIANTS
from common import adam
from torch import nn

BATCH, CODE = 64, 100


def generator():
    return nn.Sequential(
        nn.Linear(CODE, 7 * 7 * 128),
        nn.ReLU(),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, 2, 1),
        nn.Tanh(),
    )


def critic(activation):
    return nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1),
        activation(),
        nn.Conv2d(64, 128, 4, 2, 1),
        activation(),
        nn.Flatten(),
        nn.Linear(128 * 7 * 7, 1),
    )


def build(variant):
    g, d = variant.layout(generator()), variant.layout(critic(lambda: nn.LeakyReLU(0.2)))
    source, judge = variant.compile(g), variant.compile(d)
    move_g, move_d = adam(g), adam(d)
    x = variant.layout(torch.rand(BATCH, 1, 28, 28))

    def step():
        with torch.no_grad():
            fake = source(torch.randn(BATCH, CODE))
        move_d.zero_grad(set_to_none=True)
        (F.softplus(-judge(x)) + F.softplus(judge(fake))).mean().backward()
        move_d.step()
        d.requires_grad_(False)
        move_g.zero_grad(set_to_none=True)
        loss = F.softplus(-judge(source(torch.randn(BATCH, CODE)))).mean()
        loss.backward()
        move_g.step()
        d.requires_grad_(True)
        return loss.detach()

    return [g, d], step
