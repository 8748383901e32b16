"""VAE 784-400-20 with Bernoulli pixels, batch 128."""

import torch
import torch.nn.functional as F
from common import DENSE as VARIANTS
from common import training
from torch import nn

BATCH, CODE = 128, 20


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * CODE))
        self.decoder = nn.Sequential(nn.Linear(CODE, 400), nn.ReLU(), nn.Linear(400, 784))

    def forward(self, x):
        mu, lv = self.encoder(x).chunk(2, 1)
        z = mu + (0.5 * lv).exp() * torch.randn_like(mu)
        recon = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * (mu.square() + lv.exp() - lv - 1).sum()
        return (recon + kl) / len(x)


def build(variant):
    net = Vae()
    loss, x = variant.compile(net), torch.rand(BATCH, 784)
    return [net], training(net, lambda: loss(x))
