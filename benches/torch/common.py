"""What the workloads share: variants, Adam, and the plain training step."""

import torch

EAGER, CHANNELS_LAST = "eager", "channels_last"
COMPILE, COMPILE_CHANNELS_LAST = "compile", "compile_channels_last"
DENSE = [EAGER, COMPILE]
IMAGES = [EAGER, CHANNELS_LAST, COMPILE, COMPILE_CHANNELS_LAST]


class Variant:
    """How the same step is run."""

    def __init__(self, name):
        self.compiled = name.startswith(COMPILE)
        self.channels_last = name.endswith(CHANNELS_LAST)

    def layout(self, module_or_images):
        """Channels last where asked for."""
        if self.channels_last:
            return module_or_images.to(memory_format=torch.channels_last)
        return module_or_images

    def compile(self, function):
        return torch.compile(function) if self.compiled else function


def adam(network):
    """Adam with PyTorch's defaults, in its fused form, the fastest on the CPU."""
    return torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)


def training(network, loss):
    """A step that minimises `loss()`."""
    optimiser = adam(network)

    def step():
        optimiser.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimiser.step()
        return value.detach()

    return step
