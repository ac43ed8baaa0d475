"""`train FOLDER`: what is found, the command it stands for, and a run of it."""
import json
import re
import shlex

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmvision_mamba.commands import main_of, train
from mmvision_mamba.commands.steps import prepare
from mmvision_mamba.commands.steps.folder import plan
from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight import training_defaults

from ..helpers import ROOT, formats
from ..helpers.custom_folders import coco, image_mask

SMALL = '''
_base_ = '{root}/configs/upernet_mambavision_t_custom.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)),
                  window_size=(4, 2), init_cfg=None),
    decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), auxiliary_head=dict(in_channels=64, channels=16))
default_hooks = dict(logger=dict(interval=1))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''


class Stopped(Exception):
    """Where a training would begin."""


@pytest.fixture
def config_of(monkeypatch, tmp_path, capsys):
    """config_of(*arguments): the config that `train` with these would build a runner of, and what it has printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        found = []

        def build_runner(cfg):
            found.append(cfg)
            raise Stopped
        monkeypatch.setattr(prepare, 'build_runner', build_runner)
        capsys.readouterr()
        with pytest.raises(Stopped):
            main_of('train', [str(argument) for argument in arguments])
        return found[0], capsys.readouterr().out
    return run


def command_in(out):
    return shlex.split(next(line for line in out.splitlines() if line.startswith('  mmvision-mamba train ')))[2:]


@pytest.mark.parametrize(('write', 'config', 'options'), [
    (formats.coco, 'cascade_mask_rcnn_mambavision_t_custom', ()),
    (lambda root: formats.yolo(root, boxes=True), 'faster_rcnn_mambavision_t_custom',
     ('--amp', '--on-divergence', 'skip', '--cfg-options', 'custom_data.classes.my pet=[cat, dog]',
      'randomness.seed=1')),
    (formats.voc, 'faster_rcnn_mambavision_t_custom', ('--task', 'detect', '--work-dir', 'my run')),
    (formats.masks, 'upernet_mambavision_t_custom', ('--cfg-options', 'custom_data.classes=cat,eel')),
    (formats.labelme, 'upernet_mambavision_t_custom', ('--task', 'semantic', '--resume')),
    (lambda root: coco(root, {'all.json': 'images'}), 'cascade_mask_rcnn_mambavision_t_custom', ()),
    (lambda root: image_mask(root, {'images/train': 'masks/train'}), 'upernet_mambavision_t_custom', ())])
def test_the_command_that_is_printed_is_the_same_run(write, config, options, config_of, tmp_path):
    root = write(tmp_path / "Tom's data, [new]")
    short, out = config_of(root, *options)
    command = command_in(out)
    assert command[0] == config
    long, _ = config_of(*command)
    assert long.pretty_text == short.pretty_text and long.work_dir == short.work_dir and 'custom_data' not in long
    assert long.data_root == str(root)
    if '--work-dir' not in options:
        assert short.work_dir == "work_dirs/Tom's data, [new]"


def test_what_the_user_sets_stays(config_of, tmp_path):
    root = formats.coco(tmp_path / 'data')
    cfg, _ = config_of(root, '--task', 'detect', '--cfg-options', 'train_cfg.max_epochs=4', 'custom_data.size=96',
                       'train_dataloader.num_workers=0', 'train_dataloader.batch_size=3')
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == 4 and cfg.param_scheduler[1].milestones == [3, 4]
    assert (cfg.train_dataloader.num_workers, cfg.train_dataloader.batch_size) == (0, 3)
    assert tuple(cfg.train_dataloader.dataset.pipeline[2].scale) == (160, 96)


def test_a_part_is_set_aside_where_there_is_no_validation_split(config_of, tmp_path):
    root = coco(tmp_path / 'data', {'all.json': 'images'}, count=5, masks=None)
    before = sorted(root.rglob('*'))
    cfg, out = config_of(root)
    assert 'No validation split: 1 images, chosen at random, are set aside' in out and sorted(root.rglob('*')) == before
    names = {}
    for split in ('train', 'val'):
        path = tmp_path / f'work_dirs/data/splits/{split}.json'
        assert cfg[f'{split}_dataloader'].dataset.ann_file == str(path)
        names[split] = {image['file_name'] for image in json.loads(path.read_text())['images']}
    assert len(names['train']) == 4 and len(names['val']) == 1 and not names['train'] & names['val']


def test_a_run_that_goes_on_keeps_its_validation_split(config_of, tmp_path):
    root = coco(tmp_path / 'data', {'all.json': 'images'}, count=5, masks=None)
    config_of(root)
    val = tmp_path / 'work_dirs/data/splits/val.json'
    first = val.read_text()
    content = json.loads((root / 'all.json').read_text())
    content['images'] = content['images'][::-1]
    (root / 'all.json').write_text(json.dumps(content))
    config_of(root, '--resume')
    assert val.read_text() == first
    config_of(root)
    assert val.read_text() != first


def test_folds_have_folders_of_their_own(config_of, tool, tmp_path):
    root = coco(tmp_path / 'data', {'all.json': 'images'}, masks=None)
    commands = [shlex.split(line) for line in tool('split_dataset', root, '--folds', 2).out.splitlines()
                if line.startswith('  ')]
    for fold, (program, name, *arguments) in enumerate(commands):
        assert (program, name) == ('mmvision-mamba', 'train')
        cfg, out = config_of(*arguments)
        assert cfg.work_dir == f'work_dirs/data-fold-{fold}' and 'No validation split' not in out
        assert cfg.val_dataloader.dataset.ann_file == f'splits/fold-{fold}/val.json'
    result = tool('train', root)
    assert result.code == 2 and '2 folds lie there, and none is chosen' in result.err


@pytest.mark.parametrize(('write', 'arguments', 'message'), [
    (lambda root: root.mkdir(), (), 'no folders of images and masks there'),
    (lambda root: coco(root, {'all.json': 'images'}, count=1), (), 'there is 1 image: it takes two'),
    (lambda root: formats.yolo(formats.coco(root)), (), 'annotations of several formats lie there'),
    (lambda root: formats.masks(formats.yolo(root)), (), '--task semantic, or --task detect'),
    (formats.coco, ('--cfg-options', 'data_root=x'), 'data_root is set, and'),
    (formats.coco, ('--cfg-options', 'train_cfg.max_epochs=0'), 'train_cfg.max_epochs is 0'),
    (formats.masks, ('--task', 'detect'), 'has no annotations for boxes')])
def test_folders_that_can_not_be_trained_on(write, arguments, message, tool, tmp_path):
    write(tmp_path / 'data')
    result = tool('train', tmp_path / 'data', *arguments)
    assert result.code == 2 and message in result.err and 'Traceback' not in result.err, result.err
    assert not (tmp_path / 'work_dirs').exists()


def test_a_task_is_for_folders(tool):
    result = tool('train', 'faster_rcnn_mambavision_t_custom', '--task', 'detect')
    assert result.code == 2 and '--task is for folders of data' in result.err


def test_a_folder_of_the_same_name_is_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = str(formats.coco(tmp_path / 'a/data'))
    planned = plan(root)
    (tmp_path / 'work_dirs/data').mkdir(parents=True)
    (tmp_path / f'work_dirs/data/{planned.config}.py').write_text(f'data_root = {root!r}\n')
    assert plan(root).options == planned.options
    with pytest.raises(ConfigError, match=r'holds a run of cascade_mask\S+ on .*/a/data.\nGive .* --work-dir DIR'):
        plan(formats.coco(tmp_path / 'b/data'))
    with pytest.raises(ConfigError, match=r'--work-dir DIR'):
        plan(root, task='detect')
    with pytest.raises(DataError, match='no such folder'):
        plan('nowhere')


def test_a_run(tool, tmp_path, monkeypatch):
    """Three images: trained, tested as the last lines say, and resumed."""
    (tmp_path / 'small.py').write_text(SMALL.format(root=ROOT))
    monkeypatch.setitem(training_defaults.CONFIGS, 'maps', str(tmp_path / 'small.py'))
    root = image_mask(tmp_path / 'three', {'images': 'masks'}, count=3)
    options = ('--cfg-options', 'custom_data.size=64', 'train_cfg.max_iters=2', 'train_dataloader.num_workers=0',
               'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
               'val_dataloader.persistent_workers=False', 'train_dataloader.batch_size=2')
    result = tool('train', root, *options)
    assert result.code == 0, result.err[-3000:]
    assert '1 images, chosen at random, are set aside' in result.out and '2 images to train' not in result.out
    test, infer = (shlex.split(re.search(rf'^{word}: +(.*)$', result.out, re.MULTILINE)[1])
                   for word in ('Test', 'Infer'))
    assert infer[:2] == ['mmvision-mamba', 'infer'] and infer[3] == 'IMAGE'
    assert infer[2].startswith('work_dirs/three/best')
    assert main_of(test[1], [*test[2:], '--cfg-options', 'test_dataloader.num_workers=0',
                             'test_dataloader.persistent_workers=False']) == 0
    result = tool('train', root, *options[:2], 'train_cfg.max_iters=3', *options[3:], '--resume')
    assert result.code == 0, result.err[-3000:]
    assert (tmp_path / 'work_dirs/three/iter_3.pth').is_file()


def test_the_tasks_are_those_of_the_folder():
    from mmvision_mamba.preflight.folder_data import TASKS
    parser = __import__('argparse').ArgumentParser()
    train.add_options(parser)
    assert next(action.choices for action in parser._actions if action.dest == 'task') == list(TASKS)
