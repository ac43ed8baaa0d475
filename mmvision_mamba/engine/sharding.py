"""Shards parameters, gradients and optimiser states over the processes with torch's FSDP2.

`model_wrapper_cfg = dict(type='FullyShard')` in a config turns it on. FSDP2 gathers a block's parameters for its
forward and its backward and drops them again; parameters outside MambaVision's blocks, such as the heads', form one
group. Checkpoints hold whole tensors in mmengine's layout: any number of processes, sharded or not, saves and loads
them.
"""
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor, nn

from ..backbones.mambavision import Block, ConvBlock
from ..errors import ConfigError
from ..text import check_names

TYPE = 'FullyShard'
OPTIONS = dict(reshard_after_forward=True, param_dtype=None, reduce_dtype=None, cpu_offload=False)
_DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)


def fully_shard_model(model: nn.Module, device_type: str, **options) -> nn.Module:
    """Shard `model` in place, over all processes.

    Args:
        model: on its device, with the weights that training starts from, the same in every process.
        device_type: the model's device, 'cuda' or 'cpu'.
        reshard_after_forward: drop a block's parameters after its forward and gather them once more for its backward.
            False: faster, and keeps the parameters of all blocks in between. Default: True.
        param_dtype: dtype of forward and backward, 'bfloat16' or 'float16'; the optimiser stays in float32. Default:
            None, float32, where autocast (AmpOptimWrapper) chooses by operator.
        reduce_dtype: dtype in which gradients are averaged. Default: None, that of the parameters.
        cpu_offload: keep the shards and their optimiser states in the host's memory. Default: False.

    Returns:
        `model`. State dicts of whole tensors that it loads afterwards are sharded as its parameters are.

    Raises:
        ConfigError: an unknown option or dtype.
    """
    check_names(options, OPTIONS, f'model_wrapper_cfg: {TYPE} has no option')
    options = OPTIONS | options
    dtypes = [_dtype(options, key) for key in ('param_dtype', 'reduce_dtype')]
    # torch 2.6 or later; imported here, since no other run needs it.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
    policy = dict(
        mesh=init_device_mesh(device_type, (torch.distributed.get_world_size(),)),
        reshard_after_forward=options['reshard_after_forward'],
        mp_policy=MixedPrecisionPolicy(*dtypes),
        offload_policy=CPUOffloadPolicy() if options['cpu_offload'] else OffloadPolicy())
    for parameter in model.parameters():  # convolutions' weights are channels last, which can't be sharded
        parameter.data = parameter.data.contiguous()
    for module in model.modules():
        if isinstance(module, (Block, ConvBlock)):
            fully_shard(module, **policy)
    fully_shard(model, **policy)
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_load_state_dict_pre_hook(_shard_state_dict)
    return model


def _dtype(options: dict, key: str) -> torch.dtype | None:
    name = str(options[key]).removeprefix('torch.')
    if options[key] is not None and name not in _DTYPES:
        raise ConfigError(f'model_wrapper_cfg: {key} must be one of {", ".join(_DTYPES)} or None, got {options[key]!r}')
    return _DTYPES.get(name)


def cut_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Have `optimizer`, of sharded parameters, shard the whole tensors of the state dicts that it loads later."""
    def shard(optimizer, state_dict):
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        indices = [i for group in state_dict['param_groups'] for i in group['params']]
        state = {i: {key: _shard(value, parameter) for key, value in state_dict['state'].get(i, {}).items()}
                 for i, parameter in zip(indices, parameters)}
        return {**state_dict, 'state': {i: values for i, values in state.items() if values}}
    optimizer.register_load_state_dict_pre_hook(shard)


def whole_tensors(tree: Any) -> Any:
    """Copy a nest of dicts and lists with sharded tensors gathered: whole on the main process's CPU, None elsewhere.

    All processes have to call it.
    """
    if isinstance(tree, dict):
        return type(tree)((key, whole_tensors(value)) for key, value in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree)(whole_tensors(value) for value in tree)
    if not isinstance(tree, Tensor) or not _placement(tree):
        return tree
    whole = tree.full_tensor()
    return whole.cpu() if is_main_process() else None  # a copy for each process could be more than the host has


class WholeStateHook(Hook):
    """Puts the whole tensors of `runner.whole_state` into a checkpoint.

    All processes have gathered them before: mmengine calls this in the main process alone.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['state_dict'].update(runner.whole_state['state_dict'])
        if 'optimizer' in checkpoint:
            checkpoint['optimizer'] = runner.whole_state['optimizer']


def _shard_state_dict(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """Shard the whole tensors of `state_dict` that `module` itself will load; a hook before loading."""
    for name, parameter in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = _shard(state_dict[prefix + name], parameter)


def _shard(value: Any, parameter: Tensor) -> Any:
    """Shard `value` as `parameter` is, if it is a whole tensor of that shape; else return it as it is."""
    from torch.distributed.tensor import distribute_tensor
    placement = _placement(parameter)
    if not placement or not isinstance(value, Tensor) or _placement(value) or value.shape != parameter.shape:
        return value
    mesh, placements = placement
    # Every process has read the same file: nothing needs to be sent.
    return distribute_tensor(value.to(parameter.device), mesh, placements, src_data_rank=None)


def _placement(tensor: Tensor) -> tuple | None:
    """(device mesh, placements) of a sharded tensor; None for other tensors."""
    from torch.distributed.tensor import DTensor
    return (tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else None


def sharding_options(model_wrapper_cfg: dict | None) -> dict | None:
    """The options of a config's `model_wrapper_cfg` where it asks for sharding, else None."""
    if not model_wrapper_cfg or model_wrapper_cfg.get('type') != TYPE:
        return None
    return {key: value for key, value in model_wrapper_cfg.items() if key != 'type'}
