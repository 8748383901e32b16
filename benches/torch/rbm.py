"""RBM 784-500, one step of persistent contrastive divergence, batch 128, gradients by hand."""

import torch
import torch.nn.functional as F
from common import DENSE as VARIANTS
from torch import nn

BATCH, VISIBLE, HIDDEN, RATE = 128, 784, 500, 1e-3


class Rbm(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(VISIBLE, HIDDEN)
        self.visible_bias = nn.Parameter(torch.zeros(VISIBLE))


def bernoulli(p):
    return (torch.rand_like(p) < p).to(p.dtype)


def build(variant):
    net = Rbm().requires_grad_(False)
    weight, c, b = net.hidden.weight, net.hidden.bias, net.visible_bias
    data, chain = torch.rand(BATCH, VISIBLE).round(), torch.rand(BATCH, VISIBLE).round()

    def sweep(weight, b, c, data, chain):
        h_data, h = F.linear(torch.cat([data, chain]), weight, c).sigmoid().chunk(2)
        chain.copy_(bernoulli(torch.addmm(b, bernoulli(h), weight).sigmoid()))
        h_chain = F.linear(chain, weight, c).sigmoid()
        rate = RATE / BATCH
        # One product for both expectations: the chain's rows enter with a minus.
        weight.addmm_(torch.cat([h_data, -h_chain]).t(), torch.cat([data, chain]), alpha=rate)
        b.add_((data - chain).sum(0), alpha=rate)
        c.add_((h_data - h_chain).sum(0), alpha=rate)
        return chain

    sweep = variant.compile(sweep)

    @torch.no_grad()
    def step():
        return sweep(weight, b, c, data, chain)

    return [net], step
