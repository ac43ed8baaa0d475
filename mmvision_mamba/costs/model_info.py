"""Costs of a model, part by part: parameters, FLOPs, activations, memory."""
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd.profiler import record_function
from torch.multiprocessing.reductions import StorageWeakRef

from ..backbones import MambaVision
from ..backbones.mambavision import Attention, Block, ConvBlock, WindowStage
from ..backbones.mixers import Mixer
from ..backbones.windows import Windows
from ..text import as_text
from .flops import counted_flops
from .memory import allocations, peak_of

OTHER = 'other'  # name of the costs outside of all parts


@dataclass
class Part:
    """Costs of a part of a model.

    Args:
        name: 'stem', 'stage 1' … 'stage 4' of a MambaVision, else its name in the model, such as 'neck'.
        parameters: their number, without those shared with an earlier part.
        flops: of a forward, a multiplication and an addition counted as two: convolutions, matrix products, attention
            and scans.
        output: shapes of its output tensors, without the batch; empty if the output is no tensor.
        activations: bytes that a forward keeps for the backward, without weights. None: not measured.
        peak_memory: bytes allocated at most in a forward without gradients, beyond those allocated before it. None:
            not measured.
        blocks: {'conv', 'mixer' or 'attention': number of such blocks} of a stage.
        windows: layout of the windows on the feature map, of a stage that has some.
    """
    name: str
    parameters: int = 0
    flops: int = 0
    output: list[tuple[int, ...]] = field(default_factory=list)
    activations: int | None = None
    peak_memory: int | None = None
    blocks: dict[str, int] = field(default_factory=dict)
    windows: Windows | None = None


def model_info(model: nn.Module, call: Callable[[], object], device: torch.device, memory: bool = True) -> list[Part]:
    """Costs of the parts of a model, in order; 'other' comes last, if there are parameters or FLOPs outside of them.

    Args:
        model: any, in eval mode; a MambaVision in it is split into its stages.
        call: runs the model's forward once, on an input of the size in question. It is called three times.
        device: where the model is.
        memory: measure memory too; without it there is one call. Default: True.
    """
    modules = _parts(model)
    parts = {name: Part(name) for name in (*modules, OTHER)}
    counted = set()
    for name, children in modules.items():
        for parameter in (p for child in children for p in child.parameters()):
            if parameter not in counted:
                counted.add(parameter)
                parts[name].parameters += parameter.numel()
    parts[OTHER].parameters = sum(p.numel() for p in model.parameters() if p not in counted)

    with torch.no_grad(), counted_flops(model) as flops:
        flops_before = []

        def leave(name):
            parts[name].flops += flops() - flops_before.pop()
        with _watch(modules, lambda name: flops_before.append(flops()), leave, parts):
            call()
        parts[OTHER].flops = flops() - sum(part.flops for part in parts.values())
    if memory:
        for name, peak in _peaks(modules, call, device).items():
            parts[name].peak_memory = peak
        for name, size in _kept(modules, call, model).items():
            parts[name].activations = size
    other = parts[OTHER]
    return [part for part in parts.values() if part is not other or other.parameters or other.flops]


def _parts(model: nn.Module) -> dict[str, list[nn.Module]]:
    """{name: modules} of the children of `model` that have parameters; a MambaVision is split into its stages."""
    parts = {}
    for name, child in model.named_children() if not isinstance(model, MambaVision) else [('', model)]:
        if isinstance(child, MambaVision):
            parts['stem'] = [child.patch_embed]
            for i, level in enumerate(child.levels):
                norm = getattr(child, f'outnorm{i}', None)
                parts[f'stage {i + 1}'] = [level] if norm is None else [level, norm]
            head = [c for n, c in child.named_children()
                    if n not in ('patch_embed', 'levels') and not n.startswith('outnorm')]
            if any(True for c in head for _ in c.parameters()):
                parts['head'] = head
        elif any(True for _ in child.parameters()):
            parts[name] = [child]
    return parts


def as_table(parts: list[Part]) -> str:
    """Text table of the parts and their sum."""
    titles = ['part', 'output', 'parameters, M', 'GMACs', 'GFLOPs', 'activations, MiB', 'peak memory, MiB']
    total = Part('total', *(sum(getattr(part, name) for part in parts) for name in ('parameters', 'flops')))
    if any(part.activations is not None for part in parts):
        total.activations = sum(part.activations or 0 for part in parts)
    return as_text(titles, [[
        part.name, ', '.join(' × '.join(map(str, shape)) for shape in part.output), f'{part.parameters / 1e6:.2f}',
        f'{part.flops / 2e9:.2f}', f'{part.flops / 1e9:.2f}',
        *('' if size is None else f'{size / 2**20:,.1f}' for size in (part.activations, part.peak_memory))]
        for part in (*parts, total)])


def training_memory(parts: list[Part], model: nn.Module, processes: int, images: int) -> str:
    """Text table of the memory that training with AdamW needs in each process, replicated (DDP) and sharded
    (`FullyShard`); computed, not measured.

    States: weights, gradients and two moments, in float32, 16 bytes a parameter. Sharded, each process has its share of
    them, and gathers the weights of two blocks, or all weights outside of blocks, at a time. Activations: those of
    `parts`, of one image in float32, times the images; checkpointing and mixed precision reduce them. Libraries and
    the allocator need memory on top.

    Args:
        parts: from `model_info`, with memory.
        model: the model of `parts`.
        processes: GPUs.
        images: per process.
    """
    blocks = [sum(p.numel() for p in module.parameters()) for module in model.modules()
              if isinstance(module, (Block, ConvBlock))]
    parameters = sum(p.numel() for p in model.parameters())
    gathered = max(2 * max(blocks, default=0), parameters - sum(blocks))
    activations = images * sum(part.activations or 0 for part in parts)
    rows = [[name, *(f'{size / 2**30:,.2f}' for size in (states, activations, states + activations))]
            for name, states in (
                ('replicated', 16 * parameters), ('sharded', 16 * parameters / processes + 4 * gathered))]
    images = f'{images} image{"s" * (images > 1)}'
    return f'training, GiB per process, {processes} processes of {images}, counted\n' + as_text(
        ['', 'states', 'activations', 'sum'], rows)


@contextmanager
def _watch(modules: dict[str, list[nn.Module]], enter: Callable[[str], None], leave: Callable[[str], None],
           parts: dict[str, Part] | None = None) -> Iterator[None]:
    """Call `enter` and `leave` whenever a forward enters and leaves a part; fill in the outputs of `parts`.

    All modules of a part get hooks, since some models call a head's `forward` itself, past the head's hooks.
    """
    depth = dict.fromkeys(modules, 0)

    def before(name):
        depth[name] += 1
        if depth[name] == 1:
            enter(name)

    def after(name, module, args, output):
        depth[name] -= 1
        if not depth[name]:
            leave(name)
        if parts is not None and module is modules[name][0]:
            _describe(parts[name], module, args, output)

    with ExitStack() as hooks:
        for name, children in modules.items():
            for module in {m for child in children for m in child.modules()}:
                hooks.callback(module.register_forward_pre_hook(lambda *_, name=name: before(name)).remove)
                hooks.callback(module.register_forward_hook(
                    lambda module, args, output, name=name: after(name, module, args, output)).remove)
        yield


def _describe(part: Part, module: nn.Module, args: tuple, output) -> None:
    """Fill in a part's output shapes, blocks and windows from a forward of its first module."""
    part.output = [tuple(x.shape[1:]) for x in (output if isinstance(output, (tuple, list)) else [output])
                   if isinstance(x, Tensor)]
    kinds = {ConvBlock: 'conv', Mixer: 'mixer', Attention: 'attention'}
    for block in getattr(module, 'blocks', ()):
        for kind in [kind for cls, kind in kinds.items() if isinstance(getattr(block, 'mixer', block), cls)]:
            part.blocks[kind] = part.blocks.get(kind, 0) + 1
    if isinstance(module, WindowStage):
        part.windows = Windows.plan(*args[0].shape[2:], module.window_size, module.window_padding)


@torch.no_grad()
def _peaks(modules: dict[str, list[nn.Module]], call: Callable, device: torch.device) -> dict[str, int]:
    """{part: bytes allocated at most during one of its forwards, beyond those allocated before it}."""
    peaks = dict.fromkeys(modules, 0)
    if device.type == 'cuda':
        before = []

        def enter(name):
            torch.cuda.reset_peak_memory_stats(device)
            before.append(torch.cuda.memory_allocated(device))

        def leave(name):
            peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated(device) - before.pop())
        with _watch(modules, enter, leave):
            call()
        return peaks

    spans = []
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        def enter(name):
            spans.append(record_function(f'part:{name}'))
            spans[-1].__enter__()

        with _watch(modules, enter, lambda name: spans.pop().__exit__(None, None, None)):
            call()
    times = [(event.start_ns(), event.start_ns() + event.duration_ns(), event.name().removeprefix('part:'))
             for event in profile.kineto_results.events() if event.name().startswith('part:')]
    sizes = allocations(profile)
    for start, end, name in times:
        peaks[name] = max(peaks[name], peak_of(size for time, size in sizes if start <= time <= end))
    return peaks


def _kept(modules: dict[str, list[nn.Module]], call: Callable, model: nn.Module) -> dict[str, int]:
    """{part: bytes of the tensors that its forward saves for the backward}, without the model's weights.

    Each tensor is counted and let go, so that models too large to be trained here can be counted too.
    """
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved, open_parts = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if open_parts and storage.data_ptr() not in weights:
            reference = StorageWeakRef(storage)  # while it lives, no other storage has its number
            saved.setdefault(reference.cdata, (reference, open_parts[-1], storage.nbytes()))

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing), \
            _watch(modules, open_parts.append, lambda name: open_parts.pop()):
        call()
    sums = dict.fromkeys(modules, 0)
    for _, name, size in saved.values():
        sums[name] += size
    return sums
