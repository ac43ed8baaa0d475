"""The smallest MambaVision with blocks of every kind, and its weights as a published file has them."""
import torch

from mmvision_mamba import MambaVision

from ..data.golden.weights import array_for, fill

SMALL = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))


def imagenet_state(arch=SMALL) -> dict:
    """Keys and values as in a published ImageNet file: a head, no outnorm."""
    state = {k: v for k, v in fill(MambaVision(arch)).state_dict().items() if not k.startswith('outnorm')}
    channels = state['levels.3.blocks.0.norm1.weight'].numel()
    for key, shape in {'norm.weight': (channels,), 'norm.running_var': (channels,), 'head.weight': (10, channels),
                       'head.bias': (10,)}.items():
        state[key] = torch.from_numpy(array_for(key, shape))
    return state
