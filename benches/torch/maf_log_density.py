"""The same MAF, log-densities of a batch of 128."""

import torch
from common import DENSE as VARIANTS
from maf import BATCH, DIMS, Flow


def build(variant):
    net = Flow().eval()
    log_density, x = variant.compile(net), torch.randn(BATCH, DIMS)

    @torch.no_grad()
    def step():
        return log_density(x)

    return [net], step
