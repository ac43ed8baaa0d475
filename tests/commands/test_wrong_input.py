"""What wrong input gets: a line or two that name the thing and the way out, exit code 2, nothing half-written."""
import json
import os
import shutil
from importlib.util import find_spec

import pytest
import torch

from mmvision_mamba import MambaVision

from ..helpers.calls import Calls


@pytest.fixture
def fails(tool, shapes, tmp_path):
    def run(name, *arguments, data_root=shapes, options=(), lines=2):
        wd = tmp_path / 'wd'
        result = tool(name, *arguments, '--work-dir', wd, '--cfg-options', f'data_root={data_root}', *options)
        assert result.code == 2, (result.code, result.err[-3000:])
        message = result.err[result.err.index('error: '):]
        assert len(message.splitlines()) <= lines and 'Traceback' not in result.err, message
        assert not wd.exists(), 'half-written'
        return message
    return run


@pytest.fixture
def copy(shapes, tmp_path):
    return shutil.copytree(shapes, tmp_path / 'shapes')


# Configs ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['train', 'test'])
def test_config_missing_or_broken(name, fails, configs, tmp_path):
    checkpoint = ['x.pth'] * (name == 'test')
    assert 'config file not found: nowhere.py' in fails(name, 'nowhere.py', *checkpoint)
    configs.detector.write_text(configs.detector.read_text() + '\nmodel = dict(\n')
    assert 'detector.py: syntax error in line' in fails(name, configs.detector, *checkpoint)
    configs.detector.write_text("_base_ = './gone.py'\n")
    assert 'gone.py' in fails(name, configs.detector, *checkpoint)
    configs.detector.write_text('a = 1\n')
    assert 'no default_scope' in fails(name, configs.detector, *checkpoint)


@pytest.mark.parametrize(('option', 'message'), [
    ('model.backbone.arch=tinny', "unknown arch 'tinny' (did you mean 'tiny'?); valid ones: tiny, tiny2"),
    ('model.backbone.scan_backend=cuda', "unknown scan backend 'cuda'; valid ones: 'auto', 'reference', 'chunked'"),
    ('model.backbone.drop_rate=0.1', "MambaVision has no argument 'drop_rate'"),
    ('model.backbone.depth=50', 'put _delete_=True beside the type'),
    ('model.backbone.out_indices=(0,7)', 'out_indices must be increasing values out of 0, 1, 2, 3'),
    ('model.neck.in_channels=[80,160,320,640]', 'Set model.neck.in_channels=[16,32,64,128]'),
    ('model.roi_head.mask_head.num_classes=80', 'Set model.roi_head.mask_head.num_classes=3'),
    ('model.neck.out_chanels=3', "FPN has no argument 'out_chanels' (did you mean 'out_channels'?)"),
    ('model.backbone.type=MambaVison', 'MambaVison is not in the')])
def test_values_of_the_config(option, message, fails, configs):
    assert message in fails('train', configs.detector, options=[option])


@pytest.mark.parametrize(('option', 'message'), [
    ('model.backbone.arch', 'KEY=VALUE pairs are taken'),
    ('custom_hooks=[dict(type="EMAHook")]', 'a dict is set key by key'),
    ('a=[(1,2),dict(b=3)]', 'a dict is set key by key'),
    ('a=[{"b":3}]', 'a dict is set key by key'),
    ('a=[(1,2)', 'close each bracket that is opened'),
    ('a=(1,(2,3)', 'close each bracket that is opened'),
    ('a=[[1,2],(3]', 'close each bracket that is opened')])
def test_overrides_that_can_not_be_read(option, message, tool, configs):
    result = tool('train', configs.detector, '--cfg-options', 'work_dir=x', option)
    assert result.code == 2 and 'Traceback' not in result.err, result.err
    assert f'--cfg-options {option}: ' in result.err and message in result.err
    assert len(result.err[result.err.index('error: '):].splitlines()) <= 2


@pytest.mark.parametrize(('option', 'message'), [
    ('train_cfg.type=EpochBasedTrainLoop', 'train_cfg has no max_epochs'),
    ('train_dataloader.batch_size=0', 'train_dataloader.batch_size is 0'),
    ('model.test_cfg.mode=slide', 'needs crop_size and stride')])
def test_loops_and_loaders(option, message, fails, configs):
    assert message in fails('train', configs.segmentor, options=[option])


def test_visualisers(fails, configs):
    assert "--vis tensorbord: expected none, or some of local, tensorboard, wandb" in fails(
        'train', configs.detector, '--vis', 'tensorbord')


def test_auto_scale_lr_without_base(fails, configs):
    configs.detector.write_text(configs.detector.read_text() + '\nauto_scale_lr = dict(enable=False)\n')
    assert '--auto-scale-lr' in fails('train', configs.detector, '--auto-scale-lr')


def test_packages_that_only_some_configs_need(capsys):
    """What mmdet raises becomes a line, which names the package and how to get it."""
    from mmengine.registry import METRICS, DefaultScope

    from mmvision_mamba.commands.errors import user_errors
    if find_spec('pycocoevalcap'):
        pytest.skip('it is there')
    with pytest.raises(SystemExit) as stop, user_errors(), DefaultScope.overwrite_default_scope('mmdet'):
        METRICS.build(dict(type='COCOCaptionMetric', ann_file='captions.json'))
    message = capsys.readouterr().err
    assert message == 'error: COCOEvalCap is not installed, please install it by: pip install pycocoevalcap\n'
    assert stop.value.code == 2
    with pytest.raises(RuntimeError, match='a bug'), user_errors():
        raise RuntimeError('a bug')
    assert not capsys.readouterr().err


def test_what_a_library_says_of_an_argument_is_a_line(capsys):
    import torch
    from mmengine.registry import PARAM_SCHEDULERS

    from mmvision_mamba.commands.errors import user_errors
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(SystemExit) as stop, user_errors():
        PARAM_SCHEDULERS.build(dict(type='LinearLR', optimizer=optimizer, begin=3, end=2))
    message = capsys.readouterr().err
    assert message.startswith('error: LinearLR, as the config has it: end should be larger than begin')
    assert stop.value.code == 2 and message.count('\n') == 1
    with pytest.raises(ValueError, match='a bug'), user_errors():
        raise ValueError('a bug')


def test_a_bare_assertion_of_a_library_is_a_line(capsys):
    pytest.importorskip('mmdet')
    from mmengine.registry import MODELS, DefaultScope

    from mmvision_mamba.commands.errors import user_errors
    with pytest.raises(SystemExit), user_errors(), DefaultScope.overwrite_default_scope('mmdet'):
        MODELS.build(dict(type='SingleRoIExtractor', roi_layer=dict(type='RoI'), out_channels=8, featmap_strides=[4]))
    assert capsys.readouterr().err.startswith('error: SingleRoIExtractor, as the config has it: assert hasattr(ops, ')


def test_what_a_pipeline_leaves_out_of_an_image_is_named(tool, configs, shapes, tmp_path):
    run = tool('train', configs.segmentor, '--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={shapes}',
               'train_cfg.max_iters=1', 'train_cfg.val_interval=1',
               'val_dataloader.dataset.pipeline.3.meta_keys=[img_path]')
    assert run.code == 2 and len(run.errors) == 1, run.err[-2000:]
    assert "takes 'ori_shape' of each image, which the pipeline leaves out" in run.errors[0]


@pytest.mark.parametrize(('command', 'kind', 'step', 'message'), [
    ('train', 'segmentor', 'LoadImageFromFile', "train_dataloader.dataset.pipeline: Resize takes 'img'"),
    ('train', 'segmentor', 'LoadAnnotations', "train_dataloader.dataset.pipeline: a model or a metric takes 'gt_sem"),
    ('train', 'segmentor', 'PackSegInputs', "train_dataloader.dataset.pipeline: the model takes 'inputs'"),
    ('test', 'detector', 'Resize', "test_dataloader.dataset.pipeline: a model or a metric takes 'scale_factor'"),
    ('infer', 'detector', 'PackDetInputs', "test_dataloader.dataset.pipeline: it gives no 'inputs' for the model"),
    ('browse_dataset', 'detector', 'PackDetInputs', "train_dataloader.dataset.pipeline: it gives no 'inputs'")])
def test_a_step_that_a_pipeline_lacks_is_named(command, kind, step, message, tool, model_files, shapes, tmp_path):
    from mmvision_mamba.preflight.read import read_config
    files = getattr(model_files, kind)
    cfg = read_config(files.config)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.pipeline = [part for part in loader.dataset.pipeline if part.type != step]
    cfg.dump(tmp_path / 'short.py')
    run = tool(command, tmp_path / 'short.py', *[files.checkpoint] * (command in ('test', 'infer')),
               *[shapes / 'val/000000.png'] * (command == 'infer'),
               *['--work-dir', 'wd'] * (command in ('train', 'test')), '--cfg-options', f'data_root={shapes}')
    assert run.code == 2 and len(run.errors) == 1 and message in run.errors[0], run.err[-2000:]


@pytest.mark.parametrize('part', [dict(type=5), dict(type=None), dict(no='type'), 5])
def test_a_part_of_a_config_without_a_class(part, capsys):
    from mmengine.registry import VISUALIZERS

    from mmvision_mamba.commands.errors import user_errors
    with pytest.raises(SystemExit), user_errors():
        VISUALIZERS.build(part)
    assert capsys.readouterr().err == \
        f'error: a visualizer of the config is {part}: expected a dict with a type, the name of a class\n'


@pytest.mark.parametrize('norm', [torch.nn.InstanceNorm2d(8), torch.nn.GroupNorm(8, 8), torch.nn.BatchNorm2d(8)])
def test_a_norm_over_a_single_value_is_a_line(norm, capsys):
    from mmvision_mamba.commands.errors import user_errors
    with pytest.raises(SystemExit), user_errors():
        norm(torch.zeros(1, 8, 1, 1))
    message = capsys.readouterr().err
    assert '[1, 8, 1, 1]' in message and 'batch_size to 2 or more' in message
    assert message.startswith('error: a norm has one value') and message.count('\n') == 2


def test_what_a_library_says_of_an_argument_of_a_class_derived_here(monkeypatch, capsys):
    from mmengine.registry import HOOKS, VISUALIZERS
    from mmengine.visualization import Visualizer

    from mmvision_mamba.commands.errors import user_errors
    from mmvision_mamba.engine.hooks.safe_checkpoint import SafeCheckpointHook
    with pytest.raises(SystemExit) as stop, user_errors():
        HOOKS.build(dict(type='SafeCheckpointHook', save_best='abc'))
    message = capsys.readouterr().err
    assert message.startswith('error: SafeCheckpointHook, as the config has it: Cannot infer the rule for key abc')
    assert stop.value.code == 2 and message.count('\n') == 1

    @VISUALIZERS.register_module(force=True)
    class NamedVisualizer(Visualizer):
        """Made by a class method of mmengine's."""


    with pytest.raises(SystemExit), user_errors():  # in a class method
        VISUALIZERS.build(dict(type='NamedVisualizer', name=5))
    assert 'NamedVisualizer, as the config has it: type of name should be str' in capsys.readouterr().err

    def fail(self):
        raise ValueError('a bug')

    monkeypatch.setattr(SafeCheckpointHook, '__init__', fail)
    with pytest.raises(ValueError, match='a bug'), user_errors():
        HOOKS.build(dict(type='SafeCheckpointHook'))


def test_a_warning_of_what_an_error_then_tells_is_left_out(capsys):
    import warnings

    from mmvision_mamba.commands.errors import user_errors
    from mmvision_mamba.errors import ConfigError
    from mmvision_mamba.installation import WITHOUT_PARTS

    def shown_of(error):
        with warnings.catch_warnings(record=True) as others, user_errors():
            warnings.simplefilter('always')
            warnings.warn(f'{WITHOUT_PARTS} mmcv: it is broken.\nmend it', RuntimeWarning, stacklevel=1)
            warnings.warn('another', RuntimeWarning, stacklevel=1)
            assert [str(other.message) for other in others] == ['another']
            if error:
                raise error

    with pytest.raises(SystemExit):
        shown_of(ConfigError('mmcv is broken'))
    assert capsys.readouterr().err == 'error: mmcv is broken\n'
    shown_of(None)
    assert capsys.readouterr().err == f'warning: {WITHOUT_PARTS} mmcv: it is broken.\n  mend it\n'


@pytest.mark.parametrize(('steps', 'message'), [
    ("dict(type='Mosaic', img_scale=(64, 64))", "Mosaic takes 'gt_bboxes', which no step before it gives: add Load"),
    ("dict(type='MixUp', img_scale=(64, 64))", "MixUp takes 'gt_bboxes', which no step before it gives")])
def test_a_step_that_several_images_are_mixed_without(steps, message, fails, configs, shapes):
    """In the pipeline of mmdet's wrapper for such steps, whose images the inner one loads."""
    configs.detector.write_text(configs.detector.read_text() + f"""
train_dataloader.update(num_workers=0, persistent_workers=False, dataset=dict(
    _delete_=True, type='MultiImageMixDataset', pipeline=[{steps}, dict(type='PackDetInputs')], dataset=dict(
        type='CocoDataset', data_root='{shapes}', ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'), metainfo=dict(classes=('ellipse', 'rectangle', 'triangle')),
        pipeline=[dict(type='LoadImageFromFile')])))
""")
    assert f'train_dataloader.dataset.pipeline: {message}' in fails('train', configs.detector)


@pytest.mark.parametrize('command', ['infer', 'model_info'])
def test_a_negative_number_of_classes(command, tool, model_files):
    given = [model_files.segmentor.checkpoint, 'a.png'] if command == 'infer' else []
    result = tool(command, model_files.segmentor.config, *given, '--cfg-options', 'model.decode_head.num_classes=-1')
    assert result.code == 2 and 'UPerHead, as the config has it: Trying to create tensor' in result.err, result.err
    assert len(result.errors) == 1 and 'Traceback' not in result.err


def test_a_larger_image_than_may_be(tool, model_files):
    result = tool('model_info', model_files.segmentor.config, '--no-memory', '--size', 10**15)
    assert result.code == 2 and 'images have at most 178956970 pixels' in result.err, result.err


def test_an_export_that_can_not_be_written_ends_before_the_work(tool, model_files, tmp_path):
    (tmp_path / 'file').touch()
    result = tool('export', model_files.segmentor.config, 'no.pth', '--out', tmp_path / 'file/a.onnx')
    assert result.code == 2 and 'file is no folder' in result.err, result.err


# Data ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_data_root_missing(kind, fails, configs):
    message = fails('train', getattr(configs, kind), data_root='/nowhere/shapes', lines=8)
    assert '/nowhere/shapes' in message and 'SHAPES_ROOT' in message and 'data_root=' in message


def test_annotations(fails, configs, copy):
    path = copy / 'annotations' / 'instances_train.json'
    text = path.read_text()
    path.write_text(text[:len(text) // 2])
    assert 'instances_train.json' in fails('train', configs.detector, data_root=copy)
    annotations = json.loads(text)
    annotations['categories'][0]['name'] = 'zebra'
    path.write_text(json.dumps(annotations))
    message = fails('train', configs.detector, data_root=copy, lines=4)
    assert 'zebra' in message and 'ellipse' in message
    path.unlink()
    assert str(path) in fails('train', configs.detector, data_root=copy, lines=8)


@pytest.mark.parametrize(('kind', 'workers', 'broken'), [
    ('detector', 1, 'truncated'), ('detector', 0, 'not an image'), ('segmentor', 0, 'truncated')])
def test_bad_images(kind, workers, broken, fails, tool, configs, copy, tmp_path):
    images = sorted((copy / 'train').iterdir())
    whole = {path: path.read_bytes() for path in images}
    for path in images:
        path.write_bytes(whole[path][:500] if broken == 'truncated' else b'<html></html>')
    options = [f'train_dataloader.num_workers={workers}', 'train_cfg.max_iters=1', 'train_cfg.val_interval=9']
    message = fails('train', getattr(configs, kind), data_root=copy, options=options)
    assert str(copy / 'train') in message and '--skip-bad-images' in message
    for path in images[3:]:
        path.write_bytes(whole[path])
    result = tool('train', getattr(configs, kind), '--skip-bad-images', '--work-dir', tmp_path / 'wd', '--cfg-options',
                  f'data_root={copy}', *options)
    assert result.code == 0, result.err[-3000:]
    assert '3 left out' in result.out and str(images[0]) in result.out


def test_small_images(fails, configs):
    config = configs.segmentor
    config.write_text(config.read_text() + "\nmodel['data_preprocessor'] = dict(size=(24, 24))\n"
                      "train_dataloader['dataset'] = dict(pipeline=[dict(type='LoadImageFromFile'), "
                      "dict(type='LoadAnnotations'), dict(type='Resize', scale=(24, 24)), "
                      "dict(type='PackSegInputs')])\n")
    assert '32 pixels or more on each side, got 24 × 24' in fails('train', config)


# Checkpoints --------------------------------------------------------------------------------------------------------

def write_checkpoint(kind, path):
    torch.save(dict(state_dict={'a': torch.ones(3)}, meta=dict(epoch=1)), path)
    if kind == 'truncated':
        path.write_bytes(path.read_bytes()[:200])
    elif kind == 'objects':
        torch.save(dict(state_dict={}, extra=Calls(os.mkdir, 'pwned')), path)
    elif kind == 'variant':
        with torch.device('meta'):
            shapes = {k: v.shape for k, v in MambaVision('small').state_dict().items()}
        state = {f'backbone.{k}': torch.zeros(shape) for k, shape in shapes.items() if shape.numel() < 10**5}
        torch.save(dict(state_dict=state, meta=dict(epoch=0, iter=1), message_hub=dict(
            log_scalars={}, runtime_info={}, resumed_keys={})), path)


@pytest.mark.parametrize(('kind', 'message'), [
    ('missing', 'checkpoint not found'), ('truncated', 'is truncated or not a checkpoint'),
    ('objects', 'holds an object of posix.mkdir'), ('variant', "looks like 'small'")])
@pytest.mark.parametrize('use', ['test', 'resume', 'load_from', 'init_cfg'])
def test_checkpoints(kind, message, use, fails, configs, tmp_path):
    path = tmp_path / 'weights.pth'
    if kind != 'missing':
        write_checkpoint(kind, path)
    if use == 'test':
        found = fails('test', configs.detector, path)
    elif use == 'resume':
        found = fails('train', configs.detector, '--resume', path)
    elif use == 'load_from':
        found = fails('train', configs.detector, options=[f'load_from={path}'])
    else:
        found = fails('train', configs.detector, options=[
            'model.backbone.init_cfg._delete_=True', 'model.backbone.init_cfg.type=Pretrained',
            f'model.backbone.init_cfg.checkpoint={path}'])
    assert message in found and str(path) in found
    assert not (tmp_path / 'pwned').exists()


def test_heads_of_another_data_set_are_no_error_to_start_from(tool, configs, shapes, tmp_path):
    """`load_from` a checkpoint with other classes is how one fine-tunes; only its backbone must fit."""
    options = ['--cfg-options', f'data_root={shapes}', 'train_cfg.max_iters=1', 'train_cfg.val_interval=9']
    assert tool('train', configs.segmentor, '--work-dir', tmp_path / 'a', *options).code == 0
    checkpoint = torch.load(tmp_path / 'a' / 'iter_1.pth', weights_only=False)
    checkpoint['state_dict'] = {k: v for k, v in checkpoint['state_dict'].items() if 'conv_seg' not in k}
    torch.save(checkpoint, tmp_path / 'other.pth')
    result = tool('train', configs.segmentor, '--work-dir', tmp_path / 'b', *options,
                  f'load_from={tmp_path / "other.pth"}')
    assert result.code == 0, result.err[-3000:]
    assert tool('test', configs.segmentor, tmp_path / 'other.pth', '--work-dir', tmp_path / 'c', *options[:2]).code == 2


# Divergence ---------------------------------------------------------------------------------------------------------

def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tool, configs, shapes, tmp_path):
    config = configs.segmentor
    config.write_text(config.read_text() + "\nparam_scheduler = [dict(type='MultiStepLR', by_epoch=False, "
                      "milestones=[2], gamma=1e38)]\noptim_wrapper = dict(clip_grad=None)\n")
    result = tool('train', config, '--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={shapes}',
                  'train_cfg.max_iters=12', 'train_cfg.val_interval=100', 'default_hooks.checkpoint.interval=2')
    assert result.code == 2, result.err[-3000:]
    message = result.err[result.err.index('error: '):]
    assert 'not finite' in message and 'iteration' in message and 'iter_2.pth' in message
    assert len(message.splitlines()) == 2
    state = torch.load(tmp_path / 'wd' / 'iter_2.pth', weights_only=False)['state_dict']
    assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
    saved = [torch.load(p, weights_only=False)['state_dict'] for p in (tmp_path / 'wd').glob('iter_*.pth')]
    assert all(torch.isfinite(v).all() for s in saved for v in s.values() if v.is_floating_point())


@pytest.mark.parametrize('command', [('check_dataset', '--json'), ('browse_dataset', '--out')], ids=' '.join)
def test_what_a_config_names_is_no_output(command, tool, model_files, shapes, tmp_path):
    """Annotation files, and images in the folders of its data sets; a report there is replaced by the next."""
    data = tmp_path / 'data'
    shutil.copytree(shapes, data)
    name, option = command
    inputs = ['annotations/instances_train.json'] if option == '--json' else ['train/000001.png']
    for out in inputs:
        before = (data / out).read_bytes()
        result = tool(name, model_files.detector.config, option, data / out, '--cfg-options', f'data_root={data}')
        assert result.code == 2 and 'is an input of this command, and can' in result.err, result.err
        assert (data / out).read_bytes() == before
    if option == '--json':
        for _ in range(2):
            assert tool(name, model_files.detector.config, option, data / 'report.json', '--cfg-options',
                        f'data_root={data}').code == 0


@pytest.mark.parametrize('arguments', [
    ('check_dataset', 'a.py', '--json', 'a.py'), ('attention_maps', 'tiny', 'x.pth', 'a.png', '--out', './a.png'),
    ('browse_dataset', 'a.py', '--out', 'link'), ('test', 'b.py', 'a.pth', '--out', 'a.pth'),
    ('plot_curves', 'a.json', '--out', 'a.json')], ids=lambda words: words[0])
def test_an_input_is_no_output(arguments, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a.py', 'a.png', 'a.pth', 'a.json', 'b.py'):
        (tmp_path / name).write_text('content')
    (tmp_path / 'link').symlink_to('a.py')
    result = tool(*arguments)
    assert result.code == 2 and 'is an input of this command, and can' in result.err, result.err
    assert all(path.read_text() == 'content' for path in tmp_path.glob('*.*') if path.is_file())


def test_a_config_is_not_replaced(tool, configs, shapes, tmp_path):
    """Nor what it inherits from: by --out, by the config that a run writes beside its checkpoints, or its metrics.

    What a run has written there may be written again.
    """
    config = tmp_path / 'own/run.py'
    config.parent.mkdir()
    shutil.copy(configs.segmentor, tmp_path / 'base.py')
    config.write_text(f"_base_ = '../base.py'\ndata_root = '{shapes}'\n")
    first = tool('check_dataset', config, '--json', tmp_path / 'base.py')
    assert first.code == 2 and "base.py' is an input of this command, and can't be its output" in first.err, first.err
    for place, name in (('base', 'run.py'), ('metrics', 'metrics.json'), ('own', 'run.py')):
        other = config
        if place != 'own':
            (tmp_path / place).mkdir()
            (tmp_path / place / name).write_text(
                "_base_ = '../own/run.py'" if place == 'base' else '{"_base_": "../own/run.py"}')
            (tmp_path / place / 'sub').mkdir()
            other = tmp_path / place / 'sub/run.py'
            other.write_text(f"_base_ = '../{name}'")
        before = (tmp_path / place / name).read_text()
        result = tool('train', other, '--work-dir', tmp_path / place)
        assert result.code == 2 and f"/{name}' is a part of the config, and a run" in result.err, result.err
        assert (tmp_path / place / name).read_text() == before
    from mmvision_mamba.engine.config_files import holds_values_alone
    from mmvision_mamba.preflight.read import read_config
    written = tmp_path / 'written.py'
    read_config(config).dump(written)
    assert holds_values_alone(written) and not holds_values_alone(config)
    written.write_text(f'{written.read_text()}# mine')
    assert not holds_values_alone(written)
