"""What each argument of the backbone does, by tests that fail where it does nothing."""
import copy
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from mmvision_mamba import MambaVision, MM_mamba_vision
from mmvision_mamba.backbones.mambavision import Attention, Block, FeatureNorm, WindowStage
from mmvision_mamba.backbones.mixers import MambaVisionMixer
from mmvision_mamba.errors import ConfigError, DataError

from ..data.golden.weights import fill, image

SMALL = dict(dim=16, in_dim=8, depths=(1, 2, 3, 2), num_heads=(1, 1, 2, 4), window_size=(4, 3))


def small(**options) -> MambaVision:
    return fill(MambaVision({**SMALL, **options.pop('arch', {})}, **options))


def pixels(*size, **options) -> torch.Tensor:
    return torch.from_numpy(image(*size, **options))


def forward_backward(model, x):
    features = model(x)
    model.zero_grad()
    sum((f * torch.cos(torch.arange(f.numel(), dtype=f.dtype)).view_as(f)).sum() for f in features).backward()
    return features, {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


# Windows -----------------------------------------------------------------------------------------------------------

def test_fit_equals_zeros_where_windows_divide_the_map():
    x = pixels(2, 128, 192)  # stage 3: 8 × 12, two by three windows of 4; stage 4: 4 × 6, one by two of 3 … padded
    models = [small(window_padding=padding, arch=dict(window_size=(4, 2))).eval() for padding in ('fit', 'zeros')]
    (fit, fit_grads), (zeros, zeros_grads) = (forward_backward(model, x) for model in models)
    for a, b in zip(fit, zeros):
        assert torch.equal(a, b)
    for name, grad in fit_grads.items():
        assert torch.equal(grad, zeros_grads[name]), name


def test_fit_and_zeros_differ_where_windows_do_not_divide_the_map():
    x = pixels(1, 96, 160)
    fit, zeros = (small(window_padding=padding).eval()(x) for padding in ('fit', 'zeros'))
    assert not torch.allclose(fit[2], zeros[2], atol=1e-3)


@pytest.mark.parametrize('mixer', [lambda: MambaVisionMixer(16), lambda: Attention(16, 2)], ids=['mamba', 'attention'])
@pytest.mark.parametrize('junk', [0., 5., -1e4])
def test_what_lies_in_the_padding_reaches_nothing(mixer, junk):
    """Real tokens' outputs and every gradient are the same whatever the padded positions hold."""
    torch.manual_seed(1)
    blocks = nn.ModuleList([Block(16, mixer(), 4., 0., 1.) for _ in range(2)]).double()
    mask = torch.ones(3, 20, dtype=torch.bool)
    mask[0, 15:] = mask[1, 4::5] = False  # rows below, and a column on the right
    x = torch.randn(3, 20, 16, dtype=torch.float64)
    weight = torch.randn(3, 20, 16, dtype=torch.float64)

    def run(value):
        inputs = torch.where(mask.unsqueeze(-1), x, value).requires_grad_()
        y = inputs
        for block in blocks:
            y = block(y, mask)
        blocks.zero_grad()
        (y * weight)[mask].sum().backward()
        return y[mask].detach(), inputs.grad[mask], [p.grad.clone() for p in blocks.parameters()]

    for a, b in zip(run(0.1), run(junk)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_padding_is_a_border_to_the_convolutions_and_no_time_to_the_scan():
    """A window of one row with padding behind it is the row alone."""
    mixer = MambaVisionMixer(16).double()
    attention = Attention(16, 2).double()
    for layer in (Block(16, mixer, 4., 0., None).double(), Block(16, attention, 4., 0., None).double()):
        x = torch.randn(1, 12, 16, dtype=torch.float64)
        mask = torch.arange(12)[None] < 9
        torch.testing.assert_close(layer(x, mask)[:, :9], layer(x[:, :9]))


@settings(max_examples=25, deadline=None)
@given(height=st.integers(32, 150), width=st.integers(32, 150), padding=st.sampled_from(['fit', 'zeros']),
       sizes=st.tuples(*[st.one_of(st.none(), st.integers(1, 9))] * 2))
def test_any_size(height, width, padding, sizes):
    model = small(window_padding=padding, window_size=sizes).eval()
    with torch.no_grad():
        features = model(pixels(1, height, width))
    for i, feature in enumerate(features):
        stride = 4 * 2**i
        assert feature.shape == (1, 16 * 2**i, -(-height // stride), -(-width // stride))
        assert torch.isfinite(feature).all()


@pytest.mark.parametrize('norm_layer', ['ln', 'bn'])
@pytest.mark.parametrize('size', [(64, 64), (100, 140)])
def test_features_are_contiguous(norm_layer, size):
    """mmcv's RoIAlign reads channels-last memory as if it were contiguous, and says nothing."""
    x = pixels(2, *size).contiguous(memory_format=torch.channels_last)
    for window_size in (2, None):
        assert all(f.is_contiguous() for f in small(norm_layer=norm_layer, window_size=window_size)(x))


def test_the_mlp_of_own_tokens_is_the_mlp_of_all():
    """`real` spares the MLP the padding and changes nothing else, with drop path too."""
    torch.manual_seed(0)
    block, mask = Block(16, Attention(16, 2), 4., .4, .5).train(), torch.rand(8, 20) < .7
    x = torch.randn(8, 20, 16)
    results = []
    for real in (None, mask.flatten().nonzero().squeeze(1)):
        torch.manual_seed(1)  # drop path draws alike
        inputs = x.clone().requires_grad_()
        y = block(inputs, mask, real)[mask]
        results.append((y, *torch.autograd.grad(y.square().sum(), (inputs, *block.parameters()))))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_maps_stay_channels_last(padding):
    """Between any two layers on maps, whatever comes in; and so do the weights, through loading and copying."""
    model, kept = small(window_padding=padding), []
    other = small(window_padding=padding)
    other.load_state_dict({k: v.contiguous() for k, v in model.state_dict().items()})
    for m in (model, other, copy.deepcopy(model)):
        convs = [c for c in m.modules() if isinstance(c, nn.Conv2d)]
        assert convs and all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convs)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, FeatureNorm)):
            module.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    for size in ((64, 64), (100, 140)):
        model(pixels(2, *size))
    assert kept and all(x.is_contiguous(memory_format=torch.channels_last) for x in kept)


@pytest.mark.parametrize('window_size', [None, 2], ids=['one', 'many'])
def test_unmasked_attention_takes_the_flash_path(window_size):
    model, x = small(window_size=window_size).eval(), pixels(2, 64, 64)
    for grad in (False, True):
        with torch.set_grad_enabled(grad), profile(activities=[ProfilerActivity.CPU]) as profiler:
            model(x)
        names = {event.key for event in profiler.key_averages()}
        assert 'aten::_scaled_dot_product_flash_attention_for_cpu' in names
        assert 'aten::_scaled_dot_product_attention_math' not in names


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('arch', ['tiny', 'large'])  # heads of 40 and of 49 channels
def test_unmasked_attention_takes_the_flash_path_on_cuda(arch, dtype):
    dim, heads = {'tiny': (320, 8), 'large': (784, 16)}[arch]
    attention, x = Attention(dim, heads).cuda().to(dtype), torch.randn(2, 196, dim, device='cuda', dtype=dtype)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):  # raises where it can't
        attention(x).sum().backward()


def test_one_window_takes_no_padding():
    """A map no larger than the window is scanned as it is: the same as a window of the whole map."""
    x = pixels(1, 100, 140)
    fit, whole = small(window_size=100).eval(), small(window_size=None).eval()
    assert all(torch.equal(a, b) for a, b in zip(fit(x), whole(x)))


def test_images_of_a_batch_do_not_mix():
    x = pixels(3, 90, 70)
    model = small().eval()
    for i in range(3):
        for one, all_ in zip(model(x[i:i + 1]), model(x)):
            torch.testing.assert_close(one[0], all_[i], rtol=1e-4, atol=1e-4)


def test_other_numbers_of_channels_states_and_kernel():
    model = MambaVision({**SMALL, 'in_channels': 5, 'd_state': 3, 'd_conv': 4, 'mlp_ratio': 2, 'layer_scale': .1,
                         'layer_scale_conv': .2})
    mixer = model.levels[2].blocks[0].mixer
    assert mixer.A_log.shape[1] == 3 and mixer.conv1d_x.weight.shape[2] == 4
    assert model.levels[2].blocks[0].mlp.fc1.out_features == 2 * 64
    assert model.levels[0].blocks[0].gamma.unique().item() == pytest.approx(.2)
    assert model.levels[3].blocks[1].gamma_2.unique().item() == pytest.approx(.1)
    assert len(model(pixels(1, 40, 40, channels=5))) == 4


# Arguments as in mmdet's Swin and ResNet ----------------------------------------------------------------------------

@pytest.mark.parametrize('indices', [(0,), (1, 3), (2,), (0, 1, 2, 3)])
def test_out_indices(indices):
    x = pixels(1, 64, 64)
    every, model = small().eval(), small(out_indices=indices).eval()
    for i, feature in zip(indices, model(x), strict=True):
        assert torch.equal(feature, every(x)[i])
    assert [k for k, _ in model.named_children() if k.startswith('outnorm')] == [f'outnorm{i}' for i in indices]
    _, grads = forward_backward(model, x)
    assert set(grads) == {name for name, _ in model.named_parameters()}, 'unused parameters'


def test_with_cp_gives_the_same_and_keeps_less():
    x = pixels(2, 96, 96)
    results = []
    for with_cp in (False, True):
        model, kept = small(with_cp=with_cp, drop_path_rate=0.5), []
        torch.manual_seed(3)  # drop path draws alike, also when recomputed

        def pack(tensor, kept=kept):
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features = model(x)
        sum(f.square().mean() for f in features).backward()
        results.append((features, {k: p.grad for k, p in model.named_parameters()}, dict(model.named_buffers()), kept))
    (plain, grads, buffers, kept), (plain_cp, grads_cp, buffers_cp, kept_cp) = results
    assert all(torch.equal(a, b) for a, b in zip(plain, plain_cp))
    for name, grad in grads.items():
        torch.testing.assert_close(grads_cp[name], grad, rtol=1e-4, atol=1e-6)
    for name, buffer in buffers.items():  # one update of the running statistics, not two
        assert torch.equal(buffers_cp[name], buffer), name
    assert sum(kept_cp) < 0.5 * sum(kept)


@pytest.mark.parametrize('frozen', [-1, 0, 2, 4])
def test_frozen_stages(frozen):
    model = small(frozen_stages=frozen).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = pixels(2, 64, 64)
    _, grads = forward_backward(model, x) if frozen < 4 else (model(x), {})
    frozen_prefixes = ('patch_embed.',) * (frozen >= 0) + tuple(
        f'{name}{i}.' for i in range(max(frozen, 0)) for name in ('levels.', 'outnorm'))
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (not name.startswith(frozen_prefixes)), name
        assert (name in grads) == parameter.requires_grad, name
    for name, value in model.state_dict().items():
        if name.endswith('running_mean'):
            assert torch.equal(value, before[name]) == name.startswith(frozen_prefixes), name


@pytest.mark.parametrize('norm_eval', [False, True])
def test_norm_eval(norm_eval):
    model = small(norm_eval=norm_eval)
    assert model.train() is model and model.training
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(m.training != norm_eval for m in norms)
    model.eval()
    assert model.train(True) is model
    assert all(m.training != norm_eval for m in norms)


def test_drop_path_rises_linearly_over_all_blocks_and_drops_whole_windows():
    model = small(drop_path_rate=0.7)
    rates = [block.drop_path.drop_prob for level in model.levels for block in level.blocks]
    assert rates == pytest.approx([0.1 * i for i in range(8)])
    assert [b.drop_path.drop_prob for lv in MambaVision('base').levels for b in lv.blocks][-1] == 0.3
    assert [b.drop_path.drop_prob for lv in small(drop_path_rate=0.).levels for b in lv.blocks] == [0] * 8
    block = Block(8, nn.Identity(), 1., 0.5, None)
    block.mixer = Constant()
    block.mlp = nn.Identity()
    block.norm2 = Zero()
    dropped = (block.train()(torch.zeros(400, 3, 8)) != 0).flatten(1)
    assert (dropped.all(1) | ~dropped.any(1)).all()  # first dimension: images or windows, whole
    assert 0.35 < dropped[:, 0].float().mean() < 0.65


class Constant(nn.Module):
    def forward(self, x, mask):
        return torch.ones_like(x)


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


@pytest.mark.parametrize('backend', ['reference', 'chunked'])
def test_scan_backend_reaches_every_mixer(backend):
    model = small(scan_backend=backend)
    mixers = [m for m in model.modules() if isinstance(m, MambaVisionMixer)]
    assert len(mixers) == 3 and all(m.scan_backend == backend for m in mixers)
    x = pixels(1, 64, 64)
    for a, b in zip(model.eval()(x), small().eval()(x)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_initialisation_is_the_published_one():
    model = MambaVision('tiny')
    mixer = model.levels[2].blocks[0].mixer
    assert mixer.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not mixer.dt_proj.bias.any() and not model.levels[2].blocks[-1].mixer.qkv.bias.any()
    assert torch.equal(mixer.A_log.exp().round()[0], torch.arange(1., 9)) and (mixer.D == 1).all()


def test_compiles_without_graph_break():
    model = small(window_size=(3, 2)).eval()
    x = pixels(1, 64, 96)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend='aot_eager', dynamic=False)
        for a, b in zip(compiled(x), model(x)):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_bfloat16_autocast_trains():
    model = small()
    with torch.autocast('cpu', torch.bfloat16):
        features, grads = forward_backward(model, pixels(1, 64, 64))
    assert all(torch.isfinite(f).all() for f in features) and all(torch.isfinite(g).all() for g in grads.values())


def test_no_tensor_of_all_states_is_kept_for_the_backward():
    model, largest = small(window_size=None, arch=dict(d_state=64)), [0]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: largest.append(t.untyped_storage().nbytes()) or t,
                                                  lambda t: t):
        model(pixels(1, 256, 256))
    stage3_tokens, half = 16 * 16, 32
    assert max(largest[-400:]) < stage3_tokens * half * 64 * 4


# Wrong input --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(('options', 'message'), [
    (dict(arch='tinny'), r"unknown arch 'tinny' \(did you mean 'tiny'\?\); valid ones: tiny, tiny2, small"),
    (dict(arch=dict(dim=8)), 'arch lacks in_dim, depths, num_heads'),
    (dict(arch={**SMALL, 'dims': 3}), r"unknown arch key 'dims' \(did you mean 'dim'\?\)"),
    (dict(arch={**SMALL, 'num_heads': (1, 1, 3, 4)}), '3 heads do not divide the 64 channels of stage 3; .* is 2'),
    (dict(arch={**SMALL, 'depths': (1, 2, 3)}), 'four values'), (dict(arch={**SMALL, 'depths': 4}), 'four values'),
    (dict(arch={**SMALL, 'mlp_ratio': -1}), 'takes a positive number, at most 1000, got -1'),
    (dict(arch={**SMALL, 'mlp_ratio': '4'}), "takes a positive number, at most 1000, got '4'"),
    (dict(arch={**SMALL, 'mlp_ratio': float('nan')}), 'takes a positive number, at most 1000, got nan'),
    (dict(arch={**SMALL, 'mlp_ratio': float('inf')}), 'got inf'), (dict(arch={**SMALL, 'mlp_ratio': True}), 'got True'),
    (dict(arch={**SMALL, 'dim': True}), r"arch\['dim'\] takes integers from 1 up, got True"),
    (dict(arch={**SMALL, 'dim': 2**50, 'num_heads': (1, 1, 3, 3)}), 'takes at most 65536'),
    (dict(arch={**SMALL, 'depths': (0, 0, 0, 10**9)}), 'takes at most 1000'),
    (dict(arch={**SMALL, 'dim': 16384}), r'some \d\.\de\+11 parameters, .*MMVISION_MAMBA_MAX_PARAMETERS=NUMBER'),
    (dict(arch={**SMALL, 'layer_scale': 'x'}), r"layer_scale.* or None, got 'x'"),
    (dict(arch={**SMALL, 'layer_scale_conv': float('nan')}), 'layer_scale_conv.* got nan'),
    (dict(arch={**SMALL, 'drop_path_rate': float('nan')}), r'\[0, 1\), got nan'),
    (dict(arch={**SMALL, 'window_size': (True, 7)}), 'window_size must be'),
    (dict(window_size=10**12), 'at most 1024, got 1000000000000'),
    (dict(arch=3), 'must be a name'),
    (dict(out_indices=(0, 4)), r'0, 1, 2, 3'),
    (dict(out_indices=()), r'0, 1, 2, 3'),
    (dict(out_indices=(1, 0)), 'increasing'),
    (dict(window_padding='reflect'), r"'zeros', 'fit'"),
    (dict(window_size=(1, 2, 3)), 'pair'),
    (dict(window_size=0), 'positive'),
    (dict(frozen_stages=5), 'frozen_stages'),
    (dict(drop_path_rate=1.5), r'\[0, 1\)'), (dict(drop_path_rate='0.1'), r"\[0, 1\), got '0.1'"),
    (dict(scan_backend='tritonn'), "'reference', 'chunked'"),
    (dict(norm_layer='gn'), "'ln', 'bn'")])
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        MambaVision(**options)


def test_unknown_arguments_raise():
    with pytest.raises(TypeError, match='drop_rate'):
        MambaVision(drop_rate=0.1)


def test_small_images_are_named():
    with pytest.raises(DataError, match='32 pixels or more on each side, got 40 × 31'):
        small()(torch.zeros(1, 3, 40, 31))


# The published code's name ------------------------------------------------------------------------------------------

def test_reference_name_takes_the_published_arguments_and_names_what_it_ignores():
    arguments = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), window_size=(8, 8, 4, 2), mlp_ratio=4,
                     num_heads=(1, 1, 2, 4))
    with pytest.warns(UserWarning, match='drop_path_rate, resolution'):
        model = MM_mamba_vision(**arguments, drop_path_rate=0.7, resolution=224)
    assert model.levels[-1].blocks[-1].drop_path.drop_prob == 0.2
    stages = [m for m in model.modules() if isinstance(m, WindowStage)]
    assert [(s.window_size, s.window_padding) for s in stages] == [(4, 'zeros'), (2, 'zeros')]
    assert isinstance(MM_mamba_vision(**arguments, norm_layer='bn').outnorm0, nn.BatchNorm2d)
    assert MM_mamba_vision(**arguments, layer_scale=1e-5).levels[2].blocks[0].gamma_1 is not None
    with pytest.raises(TypeError, match='dim'):
        MM_mamba_vision()


def test_registered_for_every_toolbox():
    code = ("import mmvision_mamba; from mmdet.registry import MODELS as D; from mmseg.registry import MODELS as S; "
            "[m.build(dict(type=t, **a)) for m in (D, S) for t, a in (('MambaVision', {}), ('MM_mamba_vision', dict("
            "dim=16, in_dim=8, depths=(1, 1, 2, 2), window_size=(8, 8, 4, 2), mlp_ratio=4, num_heads=(1, 1, 2, 4))))]")
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


# Exporters of others, without `mmvision_mamba.export` -----------------------------------------------------------------

@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_tracing_a_map_that_needs_padding(padding):
    model = small(window_padding=padding).eval()
    with torch.no_grad():
        traced = torch.jit.trace(model, pixels(1, 100, 132), check_trace=False)
        for batch in (1, 2):
            x = pixels(batch, 100, 132)
            for found, expected in zip(traced(x), model(x)):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_torch_export_with_an_open_batch(padding):
    model = small(window_padding=padding).eval()
    exported = torch.export.export(model, (pixels(2, 100, 132),), strict=False,
                                   dynamic_shapes=({0: torch.export.Dim('batch', max=1024)},))
    with torch.no_grad():
        for batch in (1, 3):
            x = pixels(batch, 100, 132)
            for found, expected in zip(exported.module()(x), model(x)):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_onnx_of_a_map_that_needs_padding(tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    model, x = small().eval(), pixels(1, 100, 132)
    torch.onnx.export(model, (x,), str(tmp_path / 'b.onnx'), dynamo=False, opset_version=17, input_names=['x'])
    outputs = runtime.InferenceSession(str(tmp_path / 'b.onnx')).run(None, dict(x=x.numpy()))
    with torch.no_grad():
        for found, expected in zip(outputs, model(x)):
            torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
