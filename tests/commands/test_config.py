"""`mmvision-mamba config`: the list, and files that stand alone."""
import subprocess
import sys

import pytest

from mmvision_mamba.configs import config_names

from ..helpers.custom_folders import coco

pytest.importorskip('mmdet')


def test_the_list_has_a_line_for_each_config(tool):
    done = tool('config', '--list')
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == config_names()
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize('name', ['faster_rcnn_mambavision_t_coco', 'upernet_mambavision_t_fit_ade20k.py'])
def test_a_printed_config_stands_alone_and_is_the_same(name, tool, tmp_path):
    from mmengine.config import Config

    from mmvision_mamba.configs import find_config
    done = tool('config', name, '--cfg-options', 'train_dataloader.batch_size=5')
    assert done.code == 0, done.err
    (tmp_path / 'my.py').write_text(done.out)
    assert '_base_' not in done.out
    program = "from mmengine.config import Config; Config.fromfile('my.py'); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True)
    assert 'mmvision_mamba' in loaded.stdout.split(), loaded.stderr  # by the file's own custom_imports
    expected = Config.fromfile(find_config(name))
    expected.train_dataloader.batch_size = 5
    assert Config.fromfile(tmp_path / 'my.py').to_dict() == expected.to_dict()


def test_data_of_ones_own_is_written_into_the_file(tool, tmp_path):
    from mmengine.config import Config
    coco(tmp_path / 'data', {'train.json': 'train', 'val.json': 'val'})
    done = tool('config', 'faster_rcnn_mambavision_t_custom', '--cfg-options', f'data_root={tmp_path / "data"}')
    assert done.code == 0 and 'Data: ' in done.err and 'Data: ' not in done.out
    (tmp_path / 'my.py').write_text(done.out)
    cfg = Config.fromfile(tmp_path / 'my.py')
    assert 'custom_data' not in cfg and cfg.train_dataloader.dataset.metainfo.classes
    (tmp_path / 'unread.py').write_text(tool('config', 'faster_rcnn_mambavision_t_custom').out)
    assert 'format' in Config.fromfile(tmp_path / 'unread.py').custom_data


def test_names_of_classes_stay_text(tool, tmp_path):
    """What mmengine's templates would make code of, when the file is read."""
    from mmengine.config import Config
    names = ('{{$A:.*?(END)}}', "END}}',print('code'),#'", '{{ fileDirname }}')
    coco(tmp_path / 'data', {'train.json': 'train', 'val.json': 'val'}, names, (1, 2, 3))
    done = tool('config', 'faster_rcnn_mambavision_t_custom', '--cfg-options', f'data_root={tmp_path / "data"}')
    (tmp_path / 'my.py').write_text(done.out)
    assert Config.fromfile(tmp_path / 'my.py').train_dataloader.dataset.metainfo.classes == names


@pytest.mark.parametrize('words', [[], ['upernet_mambavision_t_ade20k', '--list']])
def test_one_of_both(words, tool):
    assert 'one of the two' in tool('config', *words).errors[0]


def test_an_unknown_name(tool):
    done = tool('config', 'uppernet_mambavision_t_ade20k')
    assert done.code == 2 and "did you mean 'upernet_mambavision_t_ade20k'" in done.errors[0] and not done.out
