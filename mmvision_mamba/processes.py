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


def peak_memory() -> int | None:
    """The most memory that this process has had so far, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == 'darwin' else most * 1024


def _number(name: str) -> int:
    """A number that torchrun or Slurm sets in the environment; 0 where it is not set.

    Raises:
        ConfigError: it is something else.
    """
    given = os.environ.get(name) or '0'
    if not (given.isascii() and given.isdecimal() and len(given) < 19):
        raise ConfigError(f'{name}={given[:40]!r} in the environment: expected a number, as torchrun and Slurm set it')
    return int(given)


def check_environment() -> None:
    """Check the variables that say which process of a job this is: mmengine reads some of them in every process.

    Raises:
        ConfigError: one is no number.
    """
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'SLURM_PROCID', 'SLURM_LOCALID'):
        if os.environ.get(name) == '':
            del os.environ[name]  # set to nothing is not set, but for mmengine
        _number(name)


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
        ConfigError: torchrun's launcher without its variables, or with impossible ones; on CPUs, a launcher that needs
            GPUs, or Slurm's in a process that srun did not start.
    """
    import torch
    from mmengine.device import get_device
    from mmengine.dist import init_dist, is_distributed
    if is_distributed():
        return
    if launcher == 'pytorch' and 'init_method' not in dist_cfg:
        _check_torchrun_environment()
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
    store = torch.distributed.PrefixStore(f'attempt_{environment.get("TORCHELASTIC_RESTART_COUNT", "0")}', store)
    return dict(store=store, rank=int(environment['RANK']), world_size=int(environment['WORLD_SIZE']))


def _check_torchrun_environment() -> None:
    """Raise ConfigError where PyTorch could not join processes by the environment, or would wait for ever."""
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        if not os.environ.get(name):
            raise ConfigError(f'--launcher pytorch: {name} is not set in the environment: start the tool with torchrun')
    size = _number('WORLD_SIZE')
    for name, least, most in (('WORLD_SIZE', 1, 2**20), ('RANK', 0, size - 1), ('MASTER_PORT', 0, 2**16 - 1)):
        if not least <= _number(name) <= most:
            raise ConfigError(f'{name}={os.environ[name][:40]} in the environment: expected {least} to {most}, as '
                              'torchrun sets it')


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
