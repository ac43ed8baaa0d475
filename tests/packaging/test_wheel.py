"""The built distributions: what they hold, and that a wheel without its checkout trains and infers from any folder.

Nothing is fetched: the wheel is built with the setuptools that is here, and finds what it needs where this Python does.
"""
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mmvision_mamba.commands import COMMANDS
from mmvision_mamba.configs import config_names

from ..helpers import ROOT
from ..helpers.custom_folders import coco

NAME = 'faster_rcnn_mambavision_t_custom'
# Two iterations on small images, from random weights.
SMALL = ['model.backbone.init_cfg=None', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2',
         'train_dataloader.dataset.pipeline.2.scale=(80,64)', *(
             f'{split}_dataloader.{setting}' for split, settings in dict(
                 train=['num_workers=0', 'persistent_workers=False'],
                 val=['num_workers=0', 'persistent_workers=False', 'dataset.pipeline.1.scale=(80,64)'],
                 test=['num_workers=0', 'persistent_workers=False', 'dataset.pipeline.1.scale=(80,64)']).items()
             for setting in settings)]


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Paths of the sdist, and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp('built')
    checkout = folder / 'checkout'
    git = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
                         capture_output=True, text=True)
    if git.returncode:
        pytest.skip('this is no git repository, which would tell its files from others')
    for name in filter(None, git.stdout.split('\0')):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).symlink_to(ROOT / name)
    backend = 'import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])'
    build = dict(capture_output=True, check=True)
    subprocess.run([sys.executable, '-c', backend, 'build_sdist', folder], cwd=checkout, **build)
    sdist, = folder.glob('*.tar.gz')
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / 'unpacked')  # Python before 3.11.4 has no filter, and the archive is ours
    source, = (folder / 'unpacked').iterdir()
    subprocess.run([sys.executable, '-c', backend, 'build_wheel', folder], cwd=source, **build)
    return sdist, next(folder.glob('*.whl'))


@pytest.fixture(scope='module')
def pip_user(built, tmp_path_factory):
    """pip_user(*command) runs a Python that has the wheel, and no checkout, in an empty folder; also its `folder`."""
    folder = tmp_path_factory.mktemp('pip')
    site = folder / 'site'
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(site)
    # `-S` leaves out what an editable installation put into site-packages; that folder itself is named instead.
    elsewhere = [path for path in sys.path if Path(path).name in ('site-packages', 'dist-packages')]
    empty = folder / 'empty'
    empty.mkdir()

    def run(*command):
        return subprocess.run([sys.executable, '-S', *map(str, command)], cwd=empty, capture_output=True, text=True,
                              env=os.environ | {'PYTHONPATH': os.pathsep.join([str(site), *elsewhere])})
    run.folder, run.site = empty, site
    return run


# What they hold -----------------------------------------------------------------------------------------------------

def test_the_sdist_is_the_checkout(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    for folder in ('mmvision_mamba', 'configs', 'tests', 'docs', 'tools', 'requirements'):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob('*.*')
                 if path.is_file() and '__pycache__' not in path.parts}
        assert files and files <= names, sorted(files - names)
    assert names >= {'LICENSE', 'README.md', 'CHANGELOG.md', 'Makefile', 'setup.py', 'mkdocs.yml', 'model-index.yml'}
    assert not [name for name in names if '__pycache__' in name]


def test_the_wheel_holds_the_package_its_configs_and_what_mim_runs(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'mmvision_mamba').rglob('*.py')}
    configs = {f'mmvision_mamba/.mim/{path.relative_to(ROOT).as_posix()}' for path in (ROOT / 'configs').rglob('*.py')}
    scripts = {f'mmvision_mamba/.mim/tools/{command.replace("-", "_")}.py' for command in COMMANDS}
    own = {name for name in names if '.dist-info/' not in name}
    assert own == modules | configs | scripts | {
        'mmvision_mamba/py.typed', 'mmvision_mamba/.mim/model-index.yml', 'mmvision_mamba/.mim/configs/metafile.yml'}
    assert any(name.endswith('/entry_points.txt') for name in names)


def test_the_description_has_no_link_that_leads_nowhere(built):
    with zipfile.ZipFile(built[1]) as archive:
        name = next(name for name in archive.namelist() if name.endswith('/METADATA'))
        text = archive.read(name).decode()
    links = re.findall(r'\]\(([^)]+)\)', text)
    assert links and all(link.startswith('https://') for link in links)


# What a user of it does ---------------------------------------------------------------------------------------------

def test_the_package_is_the_wheels(pip_user):
    where = 'import mmvision_mamba.checkout as c; print(c.__file__, c.ROOT, c.CONFIGS, c.import_path())'
    done = pip_user('-c', where)
    assert done.stdout.split() == [f'{pip_user.site}/mmvision_mamba/checkout.py', 'None',
                                   f'{pip_user.site}/mmvision_mamba/.mim/configs', '{}'], done.stderr


def test_every_command_has_its_help_and_names_nothing_of_a_checkout(pip_user):
    program = '''
import contextlib, io, sys
from mmvision_mamba.commands import COMMANDS, main
for command in COMMANDS:
    try:
        main(None, [command, '--help'])
    except SystemExit as stop:
        assert not stop.code, command
'''
    done = pip_user('-c', program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('usage: mmvision-mamba ') == len(COMMANDS) and 'tools/' not in done.stdout


def test_the_configs_are_listed(pip_user):
    done = pip_user('-m', 'mmvision_mamba', 'config', '--list')
    assert [line.split()[0] for line in done.stdout.splitlines()] == config_names(), done.stderr


@pytest.mark.timeout(900)  # half a minute; more on a busy machine
def test_it_trains_and_infers_by_name_from_an_empty_folder(pip_user, tmp_path):
    pytest.importorskip('mmdet')
    data = coco(tmp_path / 'data', {'train.json': 'train', 'val.json': 'val'}, masks=None)
    options = ['--cfg-options', f'data_root={data}', *SMALL]
    done = pip_user('-m', 'mmvision_mamba', 'train', NAME, *options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    work_dir = pip_user.folder / 'work_dirs' / NAME
    assert {path.name for path in pip_user.folder.iterdir()} == {'work_dirs'}

    checkpoint = work_dir / 'epoch_1.pth'
    done = pip_user('-m', 'mmvision_mamba', 'infer', checkpoint, data / 'val', '--out-dir', 'out')
    assert done.returncode == 0, done.stderr
    assert len(json.loads((pip_user.folder / 'out/preds/images.json').read_text())['images']) == 4

    (pip_user.folder / 'mine.py').write_text(f"_base_ = 'mmvision_mamba::{NAME}.py'\n")
    done = pip_user('-m', 'mmvision_mamba', 'config', 'mine', *options[:2])
    assert done.returncode == 0 and "type='FasterRCNN'" in done.stdout, done.stderr

    done = pip_user('-m', 'mmvision_mamba', 'publish', checkpoint, 'mine.pth')
    assert done.returncode == 0 and done.stdout.startswith('mine-'), done.stderr
