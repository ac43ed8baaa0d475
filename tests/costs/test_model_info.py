import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.classifier import MambaVisionClassifier
from mmvision_mamba.costs.flops import count_flops
from mmvision_mamba.costs.memory import kept_for_backward, peak_memory
from mmvision_mamba.costs.model_info import Part, as_table, model_info, training_memory

ARCH = dict(dim=16, in_dim=8, depths=(1, 2, 3, 2), num_heads=(1, 1, 2, 4), window_size=(4, 3))
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    model, x = MambaVision(ARCH, window_padding='zeros').eval(), torch.randn(1, 3, 96, 150)
    with torch.no_grad():
        model(x)  # a process's first call makes more than the model's own tensors
    return model, x, {part.name: part for part in model_info(model, lambda: model(x), CPU)}


def test_the_parts_make_the_whole(backbone):
    model, x, parts = backbone
    assert list(parts) == ['stem', 'stage 1', 'stage 2', 'stage 3', 'stage 4']
    assert sum(part.parameters for part in parts.values()) == sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        assert sum(part.flops for part in parts.values()) == count_flops(lambda: model(x), model, 'forward')
    kept = kept_for_backward(lambda: model(x), [*model.parameters(), *model.buffers()])
    assert sum(part.activations for part in parts.values()) == pytest.approx(kept, rel=0.02)


def test_activations_are_counted_without_being_kept():
    """So that what takes more memory to train than this machine has can be counted on it."""
    model, x = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(20))), torch.rand(1000, 64)
    outputs, alive = [], []

    def note(module, args, out):
        outputs.append(StorageWeakRef(out.untyped_storage()))
        alive.append(sum(out.nbytes for output in outputs if not output.expired()))
    for layer in [layer for block in model for layer in block]:
        layer.register_forward_hook(note)
    parts = model_info(model, lambda: model(x), CPU)
    peak = max(alive)
    kept = kept_for_backward(lambda: model(x), model.parameters())
    assert sum(part.activations for part in parts) == pytest.approx(kept) and peak < kept / 4
    assert max(alive) > kept / 2, 'where they are kept, the count shows it'


def test_a_stage_is_what_it_is_alone(backbone):
    model, x, parts = backbone
    with torch.no_grad():
        for level in model.levels[:2]:
            x = level.downsample(level(x if level is not model.levels[0] else model.patch_embed(x)))
        level, stage = model.levels[2], parts['stage 3']
        flops = count_flops(lambda: level(x), level, 'forward')
        flops += count_flops(lambda: level.downsample(x), level, 'forward')
        peak = peak_memory(lambda: level(x), CPU)
    assert stage.flops == flops
    assert stage.peak_memory == pytest.approx(peak, rel=0.05)
    assert stage.output == [tuple(x.shape[1:])]
    assert stage.blocks == {'mixer': 2, 'attention': 1}
    assert (stage.windows.rows, stage.windows.columns, stage.windows.tokens) == (2, 3, 16)
    assert parts['stage 2'].blocks == {'conv': 2}
    assert parts['stage 2'].windows is None


def test_a_convolution_s_flops_by_hand(backbone):
    _, x, parts = backbone
    height, width = x.shape[2] // 2, x.shape[3] // 2
    first = 2 * 27 * 8 * height * width
    second = 2 * 72 * 16 * (height // 2) * -(-width // 2)
    assert parts['stem'].flops == first + second


def test_the_published_number_of_parameters():
    model = MambaVisionClassifier('tiny').eval()
    x = torch.zeros(1, 3, 64, 64)
    parts = model_info(model, lambda: model(x), CPU, memory=False)
    assert [part.name for part in parts][-1] == 'head'
    assert sum(part.parameters for part in parts) / 1e6 == pytest.approx(31.79, abs=0.01)
    assert all(part.activations is part.peak_memory is None for part in parts)
    assert as_table(parts).splitlines()[-1].split()[:2] == ['total', '31.79']


def test_what_happens_between_the_parts_and_shared_weights_are_counted_once():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.two.weight = self.one.weight
            self.scale = nn.Parameter(torch.ones(5))

        def forward(self, x):
            return self.two.forward(self.one(x)) @ x.T

    model, x = Model().eval(), torch.randn(3, 8)
    parts = {part.name: part for part in model_info(model, lambda: model(x), CPU)}
    assert {name: part.parameters for name, part in parts.items()} == {'one': 64, 'two': 0, 'other': 5}
    # `two` is a leaf called past its hooks: what it does falls to the rest.
    assert {name: part.flops for name, part in parts.items()} == {
        'one': 2 * 3 * 64, 'two': 0, 'other': 2 * 3 * 64 + 2 * 3 * 3 * 8}


def test_a_head_whose_forward_is_called_past_its_hooks():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))

        def forward(self, x):
            return self.head.forward(self.backbone(x))

    model, x = Model().eval(), torch.randn(3, 8)
    parts = {part.name: part for part in model_info(model, lambda: model(x), CPU)}
    assert {name: part.flops for name, part in parts.items()} == {'backbone': 2 * 3 * 64, 'head': 2 * 3 * (32 + 8)}


def test_training_memory_counts_sixteen_bytes_a_parameter_and_shards_them():
    model = MambaVision(dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4), window_size=(8, 4)))
    every = sum(p.numel() for p in model.parameters())
    parts = [Part('all', every, activations=3 * 2**30), Part('more', activations=2**30)]
    lines = training_memory(parts, model, processes=4, images=5).splitlines()
    assert '4 processes of 5 images' in lines[0]
    (_, states, activations, total), (_, shard, *_) = (line.split() for line in lines[2:])
    assert float(activations) == 20 and float(total) == pytest.approx(20 + float(states), abs=0.011)
    assert float(states) == pytest.approx(16 * every / 2**30, abs=0.01)
    assert float(shard) <= float(states)
    # A model of one block alone has all of it gathered: there is nothing to gain but the optimiser's part.
    block = model.levels[3].blocks[0]
    size = sum(p.numel() for p in block.parameters())
    big = training_memory([Part('x', activations=0)], torch.nn.ModuleList([block]), 2, 1)
    assert f'{(8 + 8) * size / 2**30:,.2f}' in big
