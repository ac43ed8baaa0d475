"""Processes of a distributed job: telling the first, joining and leaving the process group.

Imports torch and mmengine only in the functions that need them.
"""
import logging
import os
import subprocess
import sys

from .errors import ConfigError
from .printable import printable


def is_first_process() -> bool:
    """Whether this process is the only one or has rank 0. Works before the process group is initialised."""
    return _number('RANK' if 'RANK' in os.environ else 'SLURM_PROCID') == 0


def was_restarted() -> bool:
    """Whether torchrun or Slurm started this process in the place of an earlier one of the same job."""
    return any(map(_number, ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT')))


def _number(name: str) -> int:
    """A number that torchrun or Slurm sets in the environment; 0 where it is not set.

    Raises:
        ConfigError: it is something else.
    """
    given = os.environ.get(name) or '0'
    if not (given.isascii() and given.isdecimal()):
        raise ConfigError(f'{name}={given[:40]!r} in the environment: expected a number, as torchrun and Slurm set it')
    return int(given)


def print_once(text: str) -> None:
    """Print in the first process only."""
    if is_first_process():
        print(printable(text), flush=True)


def warn_once(text: str) -> None:
    """Log a warning, by mmengine's logger where mmengine is used, in the first process only."""
    if not is_first_process():
        return
    text = printable(text)
    if 'mmengine' not in sys.modules:
        logging.getLogger('mmvision_mamba').warning(text)
        return
    from mmengine.logging import print_log
    print_log(text, logger='current', level=logging.WARNING)


def join_processes(launcher: str, dist_cfg: dict) -> None:
    """Initialise the process group, unless that is done: over gloo on CPUs, else as mmengine's `init_dist` does.

    Raises:
        ConfigError: on CPUs, a launcher that needs GPUs, or Slurm's in a process that srun did not start.
    """
    import torch
    from mmengine.device import get_device
    from mmengine.dist import init_dist, is_distributed
    if is_distributed():
        return
    if get_device() != 'cpu':
        init_dist(launcher, **dist_cfg, **(_elastic_store() if launcher == 'pytorch' else {}))
        return
    if launcher == 'slurm':
        _read_slurm_environment()
    elif launcher != 'pytorch':
        raise ConfigError(f"--launcher {launcher} needs GPUs; on CPUs use --launcher pytorch (torchrun)")
    torch.distributed.init_process_group('gloo', **_elastic_store())


def part_processes() -> None:
    """Wait for the other processes of a distributed job, and destroy the process group.

    If that is left to the interpreter's exit, gloo's threads now and then end a finished process with a signal.
    """
    torch = sys.modules.get('torch')
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _elastic_store() -> dict:
    """Arguments of `init_process_group` for a worker of torchrun: store, rank, world_size. {} for other processes.

    torch 2.11's agent has one store for all attempts. Restarted workers would find in it the addresses of those that
    died, and wait for them, so each attempt gets keys of its own.
    """
    import torch
    from mmengine.device import get_device
    environment = os.environ
    if environment.get('TORCHELASTIC_USE_AGENT_STORE') != 'True' or get_device() not in ('cuda', 'cpu'):
        return {}
    store = torch.distributed.TCPStore(environment['MASTER_ADDR'], int(environment['MASTER_PORT']), is_master=False)
    store = torch.distributed.PrefixStore(f'attempt_{environment["TORCHELASTIC_RESTART_COUNT"]}', store)
    return dict(store=store, rank=int(environment['RANK']), world_size=int(environment['WORLD_SIZE']))


def _read_slurm_environment() -> None:
    """Set torch.distributed's environment variables from Slurm's; mmengine's `init_dist` does so only with GPUs."""
    try:
        os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'])
    except KeyError as error:
        raise ConfigError(f'--launcher slurm: {error} is not set: start the tool with srun') from None
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(['scontrol', 'show', 'hostname', os.environ.get('SLURM_NODELIST', '')],
                               capture_output=True, text=True, check=True)
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
