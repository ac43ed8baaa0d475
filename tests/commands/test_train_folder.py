"""`train FOLDER`: what is found, the command it stands for, and a run of it."""
import contextlib
import json
import math
import multiprocessing
import os
import re
import shlex
import time
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmvision_mamba import Model
from mmvision_mamba.commands import main_of, train
from mmvision_mamba.commands.steps import folder, prepare
from mmvision_mamba.commands.steps.folder import plan
from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight import training_defaults

from ..helpers import ROOT, formats
from ..helpers.custom_folders import coco, image_mask
from ..helpers.small_configs import OF_A_FOLDER

FORK = multiprocessing.get_context('fork')


class Stopped(Exception):
    """Where a training would begin."""


@pytest.fixture
def config_of(monkeypatch, tmp_path, capfd):
    """config_of(*arguments): the config that `train` with these would build a runner of, and what it has printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        found = []

        def build_runner(cfg):
            found.append(cfg)
            raise Stopped
        monkeypatch.setattr(prepare, 'build_runner', build_runner)
        capfd.readouterr()
        with pytest.raises(Stopped):
            main_of('train', [str(argument) for argument in arguments])
        return found[0], capfd.readouterr().out
    return run


def command_in(out):
    return shlex.split(next(line for line in out.splitlines() if line.startswith('  mmvision-mamba train ')))[2:]


RUNS = [
    (lambda root: formats.yolo(root, boxes=True), 'faster_rcnn_mambavision_t_custom',
     ('--amp', '--on-divergence', 'skip', '--cfg-options', 'custom_data.classes.my pet=[cat, dog]',
      'randomness.seed=1')),
    (lambda root: image_mask(root, {'images/train': 'masks/train'}), 'upernet_mambavision_t_custom', ()),
    *(pytest.param(*run, marks=pytest.mark.slow) for run in (
        (formats.coco, 'cascade_mask_rcnn_mambavision_t_custom', ()),
        (formats.voc, 'faster_rcnn_mambavision_t_custom', ('--task', 'detect', '--work-dir', 'my run')),
        (formats.masks, 'upernet_mambavision_t_custom', ('--cfg-options', 'custom_data.classes=cat,eel')),
        (formats.labelme, 'upernet_mambavision_t_custom', ('--task', 'semantic', '--resume')),
        (lambda root: coco(root, {'all.json': 'images'}), 'cascade_mask_rcnn_mambavision_t_custom', ())))]


@pytest.mark.parametrize(('write', 'config', 'options'), RUNS)
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


def test_what_the_user_sets_stays(tmp_path):
    mine = {'train_cfg.max_epochs': 4, 'custom_data.size': 96, 'train_dataloader.batch_size': 3, 'param_scheduler': []}
    planned = plan(formats.coco(tmp_path / 'data'), mine, 'detect', tmp_path / 'run')
    assert mine.items() <= planned.options.items() and planned.options['train_cfg.val_interval'] == 1
    assert not any(key.startswith('param_scheduler.') for key in planned.options)
    assert (planned.most_per_batch, planned.work_dir) == (None, str(tmp_path / 'run'))


def names_in(path):
    return {image['file_name'] for image in json.loads(path.read_text())['images']}


def test_a_part_is_set_aside_where_there_is_no_validation_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = coco(tmp_path / 'data', {'all.json': 'images'}, count=5, masks=None)
    before = sorted(root.rglob('*'))
    planned = plan(root)
    assert 'No validation split: 1 images, chosen at random, are set aside' in planned.found
    assert sorted(root.rglob('*')) == before
    train, val = (tmp_path / f'work_dirs/data/splits/{split}.json' for split in ('train', 'val'))
    assert (planned.options['custom_data.train'], planned.options['custom_data.val']) == (str(train), str(val))
    assert len(names_in(train)) == 4 and len(names_in(val)) == 1 and not names_in(train) & names_in(val)
    # A run that goes on keeps it, whatever has become of the data.
    first = val.read_text()
    content = json.loads((root / 'all.json').read_text())
    content['images'] = [*content['images'][1:], content['images'][0]]
    (root / 'all.json').write_text(json.dumps(content))
    assert 'is kept' in plan(root, resume=True).found and val.read_text() == first
    Model(root)  # which begins nothing
    assert val.read_text() == first
    again = plan(root)
    assert again.options == planned.options and names_in(val) == {json.loads(first)['images'][0]['file_name']}


def test_images_stay_in_their_part_where_data_are_added(tmp_path, monkeypatch):
    """What an earlier run in the folder was trained on is never validated with, nor the other way round."""
    monkeypatch.chdir(tmp_path)
    root = coco(tmp_path / 'data', {'all.json': 'images'}, count=30, masks=None)
    content = json.loads((root / 'all.json').read_text())
    before: dict = dict(train=set(), val=set())
    for first, last in ((0, 10), (0, 11), (0, 30), (5, 30)):
        (root / 'all.json').write_text(json.dumps(dict(content, images=content['images'][first:last])))
        plan(root)
        parts = {split: names_in(tmp_path / f'work_dirs/data/splits/{split}.json') for split in before}
        names = {image['file_name'] for image in content['images'][first:last]}
        assert parts['train'] | parts['val'] == names and not parts['train'] & parts['val']
        assert not parts['train'] & before['val'] and not parts['val'] & before['train']
        assert abs(len(parts['val']) - len(names) / 5) <= 2
        before = {split: before[split] | parts[split] for split in before}
    for text in ('', '[]', '{"images": [3]}', '{"images": [{"file_name": []}]}', '\udcff'):  # an earlier run's, broken
        (tmp_path / 'work_dirs/data/splits/val.json').write_bytes(text.encode(errors='surrogateescape'))
        plan(root)
        assert names_in(tmp_path / 'work_dirs/data/splits/val.json') < names


@pytest.mark.parametrize('folders', [{'images': 'masks'}, {'images/train': 'masks/train'}])
def test_masks_stay_in_their_part_where_data_are_added(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts: dict = dict(train=set(), val=set())
    for count in (4, 12):
        planned = plan(image_mask(tmp_path / 'data', folders, count=count))
        for split, before in parts.items():
            lines = set(Path(planned.options[f'custom_data.{split}']).read_text().splitlines())
            assert before <= lines
            parts[split] = lines
        assert not parts['train'] & parts['val'] and len(parts['train'] | parts['val']) == count


def test_a_part_is_set_aside_of_the_format_that_was_chosen(config_of, tmp_path):
    root = formats.yolo(tmp_path / 'data', yaml='train: ../train/images\nnames: [cat, dog, eel]\n')
    cfg, _ = config_of(root, '--task', 'detect', '--cfg-options', 'custom_data.format=yolo')
    assert cfg.val_dataloader.dataset.ann_file.endswith('splits/val.json')
    planned = plan(root, dict(custom_data=dict(format='yolo', size=64)), 'detect', tmp_path / 'run')
    assert planned.options['custom_data.train'].endswith('train.json') and planned.options['custom_data.size'] == 64


def test_tiles_are_counted(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(folder, 'training_defaults', lambda what, images, side, *others: asked.append(
        (images, side)) or training_defaults.training_defaults(what, images, side, *others))
    root = formats.coco(tmp_path / 'data')
    for options in ({}, {'custom_data.tile': 32, 'custom_data.tile_overlap': 0.5}):
        plan(root, options, 'detect', tmp_path / 'run')
    (images, side), tiled = asked
    assert side > 32 and tiled == (images * math.ceil((side - 16) / 16) ** 2, 32)


def test_folds_and_lists_of_masks_are_trained_on(tool, tmp_path):
    root = image_mask(tmp_path / 'data', {'images': 'masks'}, count=6)
    assert tool('split_dataset', root, '--folds', 3).code == 0
    for options in ({'custom_data.fold': 1}, {'custom_data.train': 'splits/fold-0/train.txt',
                                              'custom_data.val': 'splits/fold-0/val.txt'}):
        planned = plan(root, options, work_dir=tmp_path / 'run')
        assert 'upernet' in planned.config and '4 images to train with' in planned.found


def test_folds_have_folders_of_their_own(tool, tmp_path):
    root = coco(tmp_path / 'data', {'all.json': 'images'}, masks=None)
    commands = [shlex.split(line) for line in tool('split_dataset', root, '--folds', 2).out.splitlines()
                if line.startswith('  ')]
    for fold, words in enumerate(commands):
        assert words == ['mmvision-mamba', 'train', str(root), '--cfg-options', f'custom_data.fold={fold}']
        planned = plan(root, {'custom_data.fold': fold})
        assert planned.work_dir == f'work_dirs/data-fold-{fold}' and 'No validation split' not in planned.found
    result = tool('train', root)
    assert result.code == 2 and '2 folds lie there, and none is chosen' in result.err


@pytest.mark.parametrize(('write', 'arguments', 'message'), [
    (lambda root: root.mkdir(), (), 'no folders of images and masks there'),
    (lambda root: coco(root, {'all.json': 'images'}, count=1), (), 'data: there is 1 image: it takes two'),
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
    """Three images: trained, and resumed; the last lines name what they have made."""
    (tmp_path / 'small.py').write_text(OF_A_FOLDER.format(root=ROOT))
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
    assert test[:2] == ['mmvision-mamba', 'test'] and test[3] == infer[2]
    assert all((tmp_path / path).is_file() for path in test[2:])
    result = tool('train', root, *options[:2], 'train_cfg.max_iters=3', *options[3:], '--resume')
    assert result.code == 0, result.err[-3000:]
    assert (tmp_path / 'work_dirs/three/iter_3.pth').is_file()


def test_the_tasks_are_those_of_the_folder():
    from mmvision_mamba.preflight.folder_data import TASKS
    parser = __import__('argparse').ArgumentParser()
    train.add_options(parser)
    assert next(action.choices for action in parser._actions if action.dest == 'task') == list(TASKS)


def _plan_and_wait(root, rank, ready):
    os.environ.update(WORLD_SIZE='2', RANK=str(rank))
    with contextlib.ExitStack() as held:
        planned = plan(root, held=held)
        ready.send(planned.options)
        time.sleep(60)


def test_a_split_is_written_once_for_all_processes_and_not_over_another_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = coco(tmp_path / 'data', {'all.json': 'images'}, count=5, masks=None)
    receiver, sender = FORK.Pipe(duplex=False)
    processes = [FORK.Process(target=_plan_and_wait, args=(root, rank, sender)) for rank in (1, 0)]
    try:
        for process in processes:
            process.start()
        assert receiver.poll(50) and receiver.recv() == receiver.recv()
        splits = [*(tmp_path / 'work_dirs/data/splits').iterdir()]
        assert {path.name for path in splits} == {'train.json', 'val.json'}
        written = {path: (path.read_bytes(), path.stat().st_ino) for path in splits}
        monkeypatch.setattr(folder, '_WAIT', 0.2)
        for size, rank in ((1, 0), (2, 0), (2, 1)):  # other runs, which start while the job goes on
            monkeypatch.setenv('WORLD_SIZE', str(size))
            monkeypatch.setenv('RANK', str(rank))
            content = json.loads((root / 'all.json').read_text())
            (root / 'all.json').write_text(json.dumps(dict(content, images=content['images'][::-1])))
            with pytest.raises(ConfigError, match=f'a run is writing to this folder, process {processes[1].pid} '):
                plan(root)
            (root / 'all.json').write_text(json.dumps(content))
        assert {path: (path.read_bytes(), path.stat().st_ino) for path in splits} == written
    finally:
        for process in processes:
            process.kill()
            process.join()
