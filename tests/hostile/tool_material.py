"""What hostile inputs of tools are made from: small data sets, configs, models, runs and names."""
import contextlib
import gc
import io
import os
import random
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmvision_mamba.commands import main

from ..helpers import ROOT
from ..helpers.custom_folders import coco, image_mask
from ..helpers.fresh_start import forget_earlier_runs
from .forks import FORGED

# No absolute path of these can be written to, by root neither: they come as outputs, too.
NAMES = [
    f'a\n{FORGED}', f'a\r{FORGED}', f'a\u2028{FORGED}\x85{FORGED}', f'a: b\nerror: {FORGED}', '\x1b[31mred\x1b[2J',
    'a\0b', '\udcff\udcfe', '\ud800', 'a\x9b31mb', 'a\x07\x08', '\u202egnp.exe', '\u2066a', 'x' * 254, '长' * 84,
    'x' * 5000, '', ' ', '.', '..', '...', '-rf', '--help', '~', '~root', '$HOME', '%s%n', '{0}{x}', '{', '%(a)s', "'",
    '"', '\\', '\\n', 'a\\b', 'a/b', 'a//b', '../../outside/secret.jpg', '/dev/zero', '/dev/null', '/dev/stdin',
    '/proc/self/mem', '/proc/nowhere/a', 'http://127.0.0.1:9/a', 'https://', 'http://[', 's3://a/b', 'file:///etc/passwd',
    '://', 'C:\\a', 'CON', '*', '**', '[', '?', '#', 'a#sha256=zz', '长城', 'صورة', '👩‍👩‍👧', 'ü', 'u\u0308', '0', '-1',
    'nan', '1e999', 'True', 'None', '[]', 'a=b', 'a,b']
NOWHERE = ('/dev/zero', '/dev/null', '/dev/stdin')  # root could replace them: inputs alone
NUMBERS = ['nan', 'inf', '-inf', '-1', '0', '1', '2', '0.5', '1e308', '1e-308', '-0.0', str(2**31), str(2**63),
           str(10**30), '9' * 5000, '', ' ', 'a', '٣', '1_0', '0x10', '+1']
CONFIG = '''
_base_ = '{root}/configs/{base}.py'
model = dict(backbone=dict(
    arch=dict(_delete_=True, dim=8, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)), window_size=(4, 2),
    init_cfg=None), {model})
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False{train})
val_dataloader = dict(num_workers=0, persistent_workers=False{val})
test_dataloader = val_dataloader
train_cfg = dict({length})
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, save_best=None))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
DETECTOR = '''neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=16), bbox_head=dict(in_channels=16, fc_out_channels=16)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=50, max_per_img=20)), test_cfg=dict(rcnn=dict(score_thr=0.))'''
SEGMENTOR = '''decode_head=dict(in_channels=[8, 16, 32, 64], channels=16),
    auxiliary_head=dict(in_channels=32, channels=8)'''


def build(base: Path) -> None:
    """Fill a folder: det/ and seg/, data; det.py and seg.py; det_run and seg_run, a run's folder; det.pkl, predictions.

    Everything that commands import is imported afterwards, and all that is slow and of no matter here is left out: the
    formatting of printed configs, collections of garbage.
    """
    import mmengine.config.config
    mmengine.config.config.FormatCode = lambda text, **_: (text, True)
    coco(base / 'det', {'train.json': 'train', 'val.json': 'val'}, masks='polygon', count=3)
    image_mask(base / 'seg', {'img_dir/train': 'ann_dir/train', 'img_dir/val': 'ann_dir/val'}, count=3)
    (base / 'outside').mkdir()
    (base / 'outside/secret.txt').write_text('secret')
    shutil.copy(base / 'det/train/pic 0.JPG', base / 'outside/secret.jpg')
    _config(base, 'det', 'faster_rcnn_mambavision_t_custom', DETECTOR, 'max_epochs=1', 'PackDetInputs')
    _config(base, 'seg', 'upernet_mambavision_t_custom', SEGMENTOR, 'max_iters=1', 'PackSegInputs')
    with contextlib.chdir(base) if hasattr(contextlib, 'chdir') else _chdir(base):
        _warm(base)
    forget_earlier_runs()
    gc.collect()
    gc.freeze()  # mmengine's data sets collect garbage, which is all that was imported


@contextlib.contextmanager
def _chdir(path: Path):
    old = os.getcwd()
    os.chdir(path)
    yield
    os.chdir(old)


def _config(base: Path, name: str, parent: str, model: str, length: str, pack: str) -> None:
    """The config, as one file."""
    from mmvision_mamba.preflight.read import read_config
    image, resize = "dict(type='LoadImageFromFile')", "dict(type='Resize', scale=(64, 64), keep_ratio=True)"
    objects = "dict(type='LoadAnnotations'" + ', with_bbox=True' * (name == 'det') + ')'
    pack = f"dict(type='{pack}', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip'))"
    train, val = (', dataset=dict(pipeline=[' + ', '.join(steps) + '])' for steps in (
        [image, objects, resize, pack], [image, resize, objects, pack]))  # mmseg measures maps of the image's own size
    path = base / f'{name}.py'
    path.write_text(CONFIG.format(root=ROOT, base=parent, model=model, length=length, train=train, val=val))
    path.write_text(read_config(path, dict(data_root=str(base / name)), ()).pretty_text)


def _warm(base: Path) -> None:
    """Run each command once, here: what it imports is there for all forks, and its results are inputs."""
    def run(*argv):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out), \
                warnings.catch_warnings():
            try:
                code = main(None, argv)
            except SystemExit as exit_:
                code = exit_.code
        forget_earlier_runs()
        assert not code, (argv, out.getvalue()[-2000:])

    for name in ('det', 'seg'):
        config, checkpoint = base / f'{name}.py', base / f'{name}_run/{dict(det="epoch", seg="iter")[name]}_1.pth'
        run('check-dataset', config, '--workers', '0')
        run('train', config, '--vis', 'local', '--work-dir', checkpoint.parent)
        run('test', config, checkpoint, '--work-dir', 'warm', '--out', base / (
            'det.pkl' if name == 'det' else 'seg_predictions'))
        run('confusion', config, checkpoint, '--out-dir', 'warm/confusion')
        run('infer', config, checkpoint, base / name, '--out-dir', 'warm/infer')
        run('batch-infer', config, checkpoint, base / name, '--out', f'warm/batch_{name}')
        run('model-info', config, '--no-memory', '--size', '64')
        run('browse-dataset', config, '-n', '1', '--out', 'warm/browse.png')
        run('attention-maps', config, checkpoint, base / 'outside/secret.jpg', '--out', 'warm/maps.png')
        run('config', config)
        run('publish', checkpoint, 'warm/published.pth')
    run('plot-curves', base / 'det_run', '--out', 'warm/curves.png')
    run('report', base / 'det_run', base / 'det_run', '--out-dir', 'warm/comparison')
    shutil.rmtree(base / 'warm')
    shutil.rmtree(base / 'work_dirs', ignore_errors=True)
    for name in ('det', 'seg'):
        shutil.copy(base / f'{name}_run/{dict(det="epoch", seg="iter")[name]}_1.pth', base / f'{name}.pth')


def copied(base: Path, root: Path, names: Sequence[str]) -> None:
    """Some of the base's files and folders in `root`; configs and runs name their place there."""
    for name in names:
        if (base / name).is_dir():
            shutil.copytree(base / name, root / name)
        elif name.endswith('.py'):
            (root / name).write_text((base / name).read_text().replace(str(base), str(root)))
        else:
            shutil.copy(base / name, root / name)


def file_name(rng: random.Random) -> str:
    """A hostile name that the file system takes."""
    while True:
        name = rng.choice(NAMES)
        with contextlib.suppress(UnicodeEncodeError):
            if name not in ('', '.', '..') and not {'/', '\0'} & set(name) and len(os.fsencode(name)) < 255:
                return name
