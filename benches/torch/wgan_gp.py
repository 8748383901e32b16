"""Critic of DCGAN's sizes with SiLU on 28x28, gradient penalty, batch 64.

torch.compile is not tried: it refuses to differentiate a gradient once more.
"""

import torch
from common import CHANNELS_LAST, EAGER, training
from dcgan import BATCH, CODE, critic, generator
from torch import nn

VARIANTS = [EAGER, CHANNELS_LAST]


def build(variant):
    source, net = variant.layout(generator()), variant.layout(critic(nn.SiLU))
    x = variant.layout(torch.rand(BATCH, 1, 28, 28))

    def loss():
        with torch.no_grad():
            fake = source(torch.randn(BATCH, CODE))
            between = torch.lerp(x, fake, torch.rand(BATCH, 1, 1, 1))
        between.requires_grad_(True)
        (gradient,) = torch.autograd.grad(net(between).sum(), between, create_graph=True)
        penalty = 10 * (gradient.flatten(1).square().sum(1).sqrt() - 1).square().mean()
        return net(fake).mean() - net(x).mean() + penalty

    return [net], training(net, loss)
