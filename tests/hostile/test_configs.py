"""Configs with a key that nothing knows, in each of their dicts: refused by name, or known to be free-form."""
import contextlib
import copy
import io
import re

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmvision_mamba.commands.errors import user_errors
from mmvision_mamba.commands.steps.prepare import build_runner
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.keys import KEYS
from mmvision_mamba.preflight.read import read_config

from ..helpers.fresh_start import forget_earlier_runs
from ..helpers.small_configs import DETECTOR, SEGMENTOR

KEY = 'unknwon_key'
# Read by nobody in particular, or by code that takes any key.
FREE = ('', 'norm_cfg', 'metainfo', 'roi_extractor', 'custom_imports', 'env_cfg', 'env_cfg.dist_cfg', 'val_evaluator',
        'default_hooks.checkpoint', 'optim_wrapper.clip_grad')
FREE_BELOW = ('train_pipeline', 'optim_wrapper.paramwise_cfg', 'model.train_cfg', 'model.test_cfg')
FREE_ENDS = ('metainfo', 'data_prefix', 'filter_cfg', 'bbox_coder')


@MODELS.register_module(force=True)
class HostileStubModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *args, **kwargs):
        raise NotImplementedError


def dicts(value, path=()):
    if isinstance(value, dict):
        yield path
        for key, item in value.items():
            yield from dicts(item, (*path, key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from dicts(item, (*path, i))


def build_everything(cfg):
    """What a training run builds before its first iteration."""
    runner = build_runner(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.build_param_scheduler(runner.param_schedulers)
    runner.build_val_loop(runner._val_loop)


def outcome(base, path, tmp_path) -> str | None:
    """The message of the refusal; None: accepted."""
    cfg = copy.deepcopy(base)
    place = cfg
    for key in path:
        place = place[key]
    place[KEY] = 'x'
    cfg.update(work_dir=str(tmp_path), launcher='none')
    forget_earlier_runs()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed), user_errors(), \
                DefaultScope.overwrite_default_scope(base.default_scope):
            if path[:1] == ('model',):
                MODELS.build(cfg.model)
            else:
                cfg.model = dict(type='mmengine.HostileStubModel')
                build_everything(cfg)
    except SystemExit:
        return printed.getvalue().split('error: ', 1)[1]
    return None


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(('text', 'fewest'), [(DETECTOR, 58), (SEGMENTOR, 38)], ids=['detector', 'segmentor'])
def test_an_unknown_key_everywhere(text, fewest, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    monkeypatch.setattr(Runner, 'dump_config', lambda self: None)  # formatting it takes half a second
    (tmp_path / 'config.py').write_text(text)
    base = read_config(tmp_path / 'config.py')
    refused, accepted = [], []
    for path in dicts({key: base[key] for key in base}):
        name = '.'.join(map(str, path))
        if name.startswith(('test_', 'tta_')):  # as val_
            continue
        message = outcome(base, path, tmp_path)
        (accepted if message is None else refused).append(name)
        if message is not None:
            assert len(message.splitlines()) <= 2 and (KEY in message or 'takes no arguments' in message
                                                       or 'hook should be' in message), (name, message)
    strange = [name for name in accepted if name not in FREE and not name.startswith(FREE_BELOW)
               and not name.endswith(FREE_ENDS) and 'sampler' not in name]
    assert not strange, f'silently accepted: {strange}'
    assert len(refused) >= fewest, len(refused)
    print(f'\n{len(refused) + len(accepted)} dicts: {len(refused)} refused, {len(accepted)} free-form')


@pytest.mark.parametrize(('key', 'meant'), [
    ('optim_wraper', 'optim_wrapper'), ('train_dataloder', 'train_dataloader'), ('default_hook', 'default_hooks'),
    ('param_schedulers', 'param_scheduler'), ('custom_hook', 'custom_hooks'), ('val_evalutor', 'val_evaluator'),
    ('auto_scale_ir', 'auto_scale_lr'), ('vizualizer', 'visualizer'), ('randomnes', 'randomness')])
def test_misspelt_at_the_top(key, meant, tmp_path):
    (tmp_path / 'config.py').write_text(f"model = dict(type='A')\ndefault_scope = 'mmdet'\n{key} = dict(a=1)\n")
    with pytest.raises(ConfigError, match=rf"nothing reads the key '{key}' \(did you mean '{meant}'\?\)"):
        read_config(tmp_path / 'config.py')
    (tmp_path / 'config.py').write_text("model = dict(type='A')\ndefault_scope = 'mmdet'\n")
    with pytest.raises(ConfigError, match=f"'{key}'"):
        read_config(tmp_path / 'config.py', {f'{key}.b': 2})


@pytest.mark.parametrize('key', ['dataset_type', 'channels', 'img_scale', 'optimizer', 'train_pipeline', 'data_root_07',
                                 'val_evaluator_abs', 'norm_cfg', 'train_scales', 'model2', 'vis_backends',
                                 '_data_root', 'oi_train_pipeline', *sorted(KEYS - {'model', 'default_scope'})])
def test_variables_and_real_keys_pass(key, tmp_path):
    (tmp_path / 'config.py').write_text(f"model = dict(type='A')\ndefault_scope = 'mmdet'\n{key} = None\n")
    read_config(tmp_path / 'config.py')


BOMB = 'a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]\n' for i in range(1, 10))


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('base.py', f'x = {"9" * 5000}', 'syntax error in line 1'),
    ('base.json', f'{{"x": {"9" * 5000}}}', 'ValueError: Exceeds the limit'),
    ('base.py', f'x = dict(y=[0x{"f" * 9000}])', 'x.y.0 is a number of some 10837 digits'),
    ('base.json', f'{{"x": {"[" * 100_000}{"]" * 100_000}}}', 'RecursionError'),
    ('base.yaml', BOMB, 'base.yaml: its aliases stand for more than 1000000 values'),
    ('base.yaml', 'a: &a [1]\nb: [*a][*a]', 'ParserError: while parsing a block mapping in'),
    ('base.yml', 'x: &a [*a]', 'base.yml: its aliases stand for more than 1000000 values')])
def test_what_a_config_inherits_is_bounded(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    (tmp_path / 'config.py').write_text(f"_base_ = '{name}'\nmodel = dict(type='A')\ndefault_scope = 'mmdet'\n")
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        read_config(tmp_path / 'config.py')
    assert len(str(error.value)) < 1000 and len(str(error.value).splitlines()) == 1


def test_aliases_of_a_yaml_file_are_read(tmp_path):
    (tmp_path / 'base.yaml').write_text('x: &x [1, 2]\ny: [*x, *x]\n')
    (tmp_path / 'config.py').write_text("_base_ = 'base.yaml'\nmodel = dict(type='A')\ndefault_scope = 'mmdet'\n")
    assert read_config(tmp_path / 'config.py').y == [[1, 2], [1, 2]]
