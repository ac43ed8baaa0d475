"""Store random states in checkpoints such that a resumed run goes on bit for bit.

See also, for killed processes: newest.py, writing.py, engine/hooks/{safe_checkpoint,preemption}.py,
commands/steps/restart.py.
"""
import random

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..printable import shown
from .fields import GENERATORS, RESUMED, check_fields

POINTER = 'last_checkpoint'  # mmengine's name
KEY = 'resume_state'  # in a checkpoint: what mmengine's do not hold


def random_state() -> dict[str, Tensor]:
    """The state of this process's random number generators, as tensors, which every checkpoint reader accepts."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=torch.tensor([version, *words]),
        python_gauss=torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        numpy=torch.tensor([*keys.tolist(), position, has_gauss]),
        numpy_gauss=torch.tensor(cached, dtype=torch.float64),
        torch=torch.get_rng_state())
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    """The inverse of `random_state`; without a GPU, a GPU's state is ignored."""
    for generator, fits in GENERATORS.items():
        if generator in state and not fits(state[generator]):  # it would read past its words
            raise ValueError(f'{generator} has a state that can not be')
    version, *words = state['python'].tolist()
    *keys, position, has_gauss = state['numpy'].tolist()
    random.setstate((version, tuple(words), next(iter(state['python_gauss'].tolist()), None)))
    np.random.set_state(('MT19937', np.array(keys, np.uint32), position, has_gauss, state['numpy_gauss'].item()))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def check_resumable(checkpoint: dict, name: str) -> None:
    """Check what a checkpoint says of its training, from which mmengine resumes without checking it.

    Raises:
        CheckpointError: it has weights only, or a field that can't be, see `fields.RESUMED`.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict) or 'message_hub' not in checkpoint or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(f'{name} can not be resumed from: it holds weights, and not how far their training was.\n'
                              f'To start from them: set load_from={name}')
    check_fields(checkpoint, name, RESUMED, 'Resume from another checkpoint; to start from its weights: set '
                 f'load_from={name}, without resume')


def check_averages(checkpoint: dict, name: str, average: nn.Module) -> None:
    """Check that a checkpoint has all averaged weights of a run, of which mmengine's EMAHook takes those that fit.

    Args:
        checkpoint: to resume from. One without averages passes: EMAHook says that they begin anew.
        name: of its file, for the message.
        average: the hook's model.

    Raises:
        CheckpointError: it has others.
    """
    if 'ema_state_dict' not in checkpoint:
        return
    found, own = checkpoint['ema_state_dict'], average.state_dict()
    unlike = [key for key in own.keys() | found.keys()
              if key not in own or key not in found or own[key].shape != found[key].shape]
    weights = [key.removeprefix('module.') for key in own if key.startswith('module.')]
    unlike = sorted(unlike) or [key for key in weights if key not in checkpoint['state_dict']]
    if unlike:
        raise CheckpointError(
            f'{name} can not be resumed from: {len(unlike)} of its averaged weights (ema_state_dict), such as '
            f'{shown(unlike[0], 100)}, are missing, of another shape or not the model\'s.\nResume from another '
            f'checkpoint; to start from its weights: set load_from={name}')
