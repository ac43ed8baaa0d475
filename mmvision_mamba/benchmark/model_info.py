"""What a model costs, part by part: parameters, FLOPs, activations, memory."""
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd.profiler import record_function
from torch.multiprocessing.reductions import StorageWeakRef

from ..backbones import MambaVision
from ..backbones.mambavision import Attention, Block, ConvBlock, MambaVisionMixer, WindowStage
from ..backbones.windows import Windows
from .memory import allocations
from .report import as_text
from .roofline import counted_flops

OTHER = 'other'  # what happens between the parts


@dataclass
class Part:
    """A part of a model.

    Args:
        name: 'stem', 'stage 1' … 'stage 4' of a MambaVision, else what the model calls it, such as 'neck'.
        parameters: how many; those that an earlier part shares are not counted again.
        flops: of a forward, a multiplication and an addition counted as two: convolutions, matrix products, attention
            and scans.
        output: the shape or shapes of what it puts out, batch left out; empty where that is no tensor.
        activations: bytes that a forward keeps for the backward, weights left out. None: not measured.
        peak_memory: bytes allocated at most during an inference's pass through it, beyond what was before. None: not
            measured.
        blocks: how many blocks of which kind a stage has: 'conv', 'mixer', 'attention'.
        windows: of a stage with windows, how they lie on the map.
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
    """The parts of a model in order; 'other' is last, where anything happens outside of them.

    Args:
        model: in eval mode, any; a MambaVision in it is split into its stages.
        call: runs the model's forward once, on an input of the size in question. It is called three times.
        device: where the model is.
        memory: whether to measure memory too; one call otherwise. Default: True.
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
        begun = []

        def leave(name):
            parts[name].flops += flops() - begun.pop()
        with _watch(modules, lambda name: begun.append(flops()), leave, parts):
            call()
        parts[OTHER].flops = flops() - sum(part.flops for part in parts.values())
    if memory:
        for name, peak in _peaks(modules, call, device).items():
            parts[name].peak_memory = peak
        for name, kept in _kept(modules, call, model).items():
            parts[name].activations = kept
    other = parts[OTHER]
    return [part for part in parts.values() if part is not other or other.parameters or other.flops]


def _parts(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Name -> modules, for those children of `model` that have parameters; the children of a MambaVision by stages."""
    parts = {}
    for name, child in model.named_children() if not isinstance(model, MambaVision) else [('', model)]:
        if isinstance(child, MambaVision):
            parts['stem'] = [child.patch_embed]
            for i, level in enumerate(child.levels):
                norm = getattr(child, f'outnorm{i}', None)
                parts[f'stage {i + 1}'] = [level] if norm is None else [level, norm]
            rest = [c for n, c in child.named_children()
                    if n not in ('patch_embed', 'levels') and not n.startswith('outnorm')]
            if any(True for c in rest for _ in c.parameters()):
                parts['head'] = rest
        elif any(True for _ in child.parameters()):
            parts[name] = [child]
    return parts


def as_table(parts: list[Part]) -> str:
    """The parts and their sum, as text."""
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
    """What training with AdamW takes in each process, counted, as text: replicated (DDP), and sharded (`FullyShard`).

    States: weights, gradients and two moments, in float32, 16 bytes a parameter; sharded, each process has its part of
    them, and of the weights two blocks, or all that is in no block, whole at a time. Activations: those of `parts`,
    of one image in float32, times the images; checkpointing and mixed precision make them fewer. What libraries and
    the allocator need comes on top.

    Args:
        parts: from `model_info`, with memory.
        model: what they are of.
        processes: GPUs.
        images: per process.
    """
    blocks = [sum(p.numel() for p in module.parameters()) for module in model.modules()
              if isinstance(module, (Block, ConvBlock))]
    every = sum(p.numel() for p in model.parameters())
    whole = max(2 * max(blocks, default=0), every - sum(blocks))
    activations = images * sum(part.activations or 0 for part in parts)
    rows = [[name, *(f'{size / 2**30:,.2f}' for size in (states, activations, states + activations))]
            for name, states in (('replicated', 16 * every), ('sharded', 16 * every / processes + 4 * whole))]
    images = f'{images} image{"s" * (images > 1)}'
    return f'training, GiB per process, {processes} processes of {images}, counted\n' + as_text(
        ['', 'states', 'activations', 'sum'], rows)


@contextmanager
def _watch(modules: dict[str, list[nn.Module]], enter: Callable[[str], None], leave: Callable[[str], None],
           parts: dict[str, Part] | None = None) -> Iterator[None]:
    """Call `enter` and `leave` whenever a forward comes into a part, and out of it; fill in what `parts` put out.

    Hooks on all modules of a part: some models call `forward` of a head itself, past the hooks of the head.
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
    part.output = [tuple(x.shape[1:]) for x in (output if isinstance(output, (tuple, list)) else [output])
                   if isinstance(x, Tensor)]
    kinds = {ConvBlock: 'conv', MambaVisionMixer: 'mixer', Attention: 'attention'}
    for block in getattr(module, 'blocks', ()):
        for kind in [kind for cls, kind in kinds.items() if isinstance(getattr(block, 'mixer', block), cls)]:
            part.blocks[kind] = part.blocks.get(kind, 0) + 1
    if isinstance(module, WindowStage):
        part.windows = Windows.plan(*args[0].shape[2:], module.window_size, module.window_padding)


@torch.no_grad()
def _peaks(modules: dict[str, list[nn.Module]], call: Callable, device: torch.device) -> dict[str, int]:
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
        now = peak = 0
        for time, size in sizes:
            if start <= time <= end:
                now += size
                peak = max(peak, now)
        peaks[name] = max(peaks[name], peak)
    return peaks


def _kept(modules: dict[str, list[nn.Module]], call: Callable, model: nn.Module) -> dict[str, int]:
    """Counted, and not kept: there is no backward, so that models which could not be trained here are counted too."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept, inside = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if inside and storage.data_ptr() not in own:
            reference = StorageWeakRef(storage)  # while it lives, no other storage has its number
            kept.setdefault(reference.cdata, (reference, inside[-1], storage.nbytes()))

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing), \
            _watch(modules, inside.append, lambda name: inside.pop()):
        call()
    sums = dict.fromkeys(modules, 0)
    for _, name, size in kept.values():
        sums[name] += size
    return sums
