import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ..helpers import formats
from ..helpers.custom_folders import coco


def test_split_is_the_same_each_time_and_keeps_all(tool, tmp_path):
    found = []
    for i in range(2):
        root = coco(tmp_path / str(i), {'all.json': 'images'}, count=7)
        assert tool('split_dataset', root, '--val', '0.3').code == 0
        parts = [json.loads((root / f'splits/{split}.json').read_text()) for split in ('train', 'val')]
        found.append([[image['id'] for image in part['images']] for part in parts])
        assert [len(part['images']) for part in parts] == [5, 2]
        assert all({a['image_id'] for a in part['annotations']} == {i['id'] for i in part['images']} for part in parts)
        whole = json.loads((root / 'all.json').read_text())
        assert all(part['categories'] == whole['categories'] for part in parts)
        assert sum(len(part['annotations']) for part in parts) == len(whole['annotations'])
    assert found[0] == found[1] and sorted(found[0][0] + found[0][1]) == list(range(7))


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nowhere'], 'nowhere: no such folder'), (['.'], 'neither annotations of objects nor folders'),
    (['one', '--val', '1'], 'must lie between 0 and 1, got 1.0'), (['one'], 'one: there is 1 image: it takes two'),
    (['one', '--folds', '0'], 'one: 0 folds: expected 2 or more')])
def test_wrong_input(arguments, message, tool, tmp_path):
    coco(tmp_path / 'one', {'a.json': 'images'}, count=1)
    (tmp_path / 'empty').mkdir()
    if arguments == ['.']:
        arguments = ['empty']
    result = tool('split_dataset', *arguments)
    assert result.code == 2 and message in result.err and len(result.err.strip().splitlines()) <= 2, result.err
    assert not (tmp_path / 'one/splits').exists()


@pytest.mark.parametrize('seed', range(5))
def test_images_of_one_file_go_into_one_part(seed, tool, tmp_path):
    root = coco(tmp_path / 'one', {'all.json': 'images'}, count=4)
    content = json.loads((root / 'all.json').read_text())
    content['images'] += [dict(image, id=image['id'] + 100) for image in content['images']]
    (root / 'all.json').write_text(json.dumps(content))
    assert tool('split_dataset', root, '--val', '0.5', '--seed', seed).code == 0
    train, val = ({image['file_name'] for image in json.loads((root / f'splits/{split}.json').read_text())['images']}
                  for split in ('train', 'val'))
    assert not train & val and len(train) == len(val) == 2


@pytest.mark.parametrize('seed', range(5))
def test_images_of_one_mask_go_into_one_part(seed, tool, tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / 'one' / folder).mkdir(parents=True)
    for i in range(4):
        for path in (f'images/{i}.png', f'images/{i}.jpg', f'masks/{i}.png'):
            Image.fromarray(np.full((40, 50), i, np.uint8)).save(tmp_path / 'one' / path)
    result = tool('split_dataset', tmp_path / 'one', '--val', '0.25', '--seed', seed)
    assert result.code == 0 and 'train.txt: 6 images; ' in result.out and 'val.txt: 2 images' in result.out
    train, val = ((tmp_path / f'one/splits/{split}.txt').read_text().split() for split in ('train', 'val'))
    assert len(train) == 3 and len(val) == 1 and not {*train} & {*val}


@pytest.mark.skipif(os.name != 'posix', reason='names that other systems do not allow')
@pytest.mark.parametrize('name', [b' a', b'a ', b'a\nb', 'a\u2028b'.encode(), '\ufeffa'.encode(), b'\xff\xfe'])
def test_names_that_a_list_can_not_hold(name, tool, tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / 'one' / folder).mkdir(parents=True)
        for other in (name, b'a', b'b', b'c'):
            path = os.fsencode(tmp_path / 'one' / folder) + b'/' + other + b'.png'
            with open(path, 'wb') as file:
                Image.fromarray(np.full((40, 50), 1, np.uint8)).save(file, 'png')
    result = tool('split_dataset', tmp_path / 'one')
    assert result.code == 2 and len(result.err.strip().splitlines()) <= 2, result.err
    assert 'can not stand in a list of images' in result.err and not (tmp_path / 'one/splits').exists()


def test_what_a_killed_split_left_goes(tool, tmp_path):
    root = coco(tmp_path / 'one', {'all.json': 'images'}, count=4)
    there = {path.name for path in root.iterdir()}
    subprocess.run([sys.executable, '-c', f"""import os, pathlib
from mmvision_mamba.made_beside import made_beside
with made_beside(pathlib.Path({str(root / 'splits')!r})) as new:
    (new / 'train.json').write_text('half')
    os._exit(1)"""], check=False)
    assert {path.name for path in root.iterdir()} > there
    assert tool('split_dataset', root).code == 0
    assert sorted(path.name for path in (root / 'splits').iterdir()) == ['train.json', 'val.json']
    assert {path.name for path in root.iterdir()} == {*there, 'splits'}


def test_one_format_at_a_time_is_split(tool, tmp_path):
    formats.yolo(tmp_path / 'one')
    formats.voc(tmp_path / 'one', lists=False)
    result = tool('split_dataset', tmp_path / 'one')
    assert result.code == 2 and 'data.yaml#yolo-train and #voc-train' in result.err, result.err
    assert not (tmp_path / 'one/splits').exists()


def test_groups_stay_whole(tool, tmp_path):
    root = coco(tmp_path / 'one', {'all.json': 'images'}, count=8)
    names = [image['file_name'] for image in json.loads((root / 'all.json').read_text())['images']]
    (tmp_path / 'groups.csv').write_text('image,group\n' + ''.join(
        f'{name},{i // 2}\n' for i, name in enumerate(names[:6])) + 'other.jpg,9\n')
    for options, parts in ((('--folds', 4), [f'fold-{i}/val.json' for i in range(4)]),
                           (('--val', 0.3), ['train.json', 'val.json'])):
        result = tool('split_dataset', root, '--groups', 'groups.csv', *options)
        assert result.code == 0, result.err
        assert 'groups.csv: 3 groups of 6 images\n' in result.out and '1 names of no image: other.jpg' in result.out
        assert '2 images without a group, each one of its own: ' in result.out
        held = [{image['file_name'] for image in json.loads((root / 'splits' / part).read_text())['images']}
                for part in parts]
        assert sorted(name for part in held for name in part) == sorted(names)
        assert all({*names[i:i + 2]} <= part or not {*names[i:i + 2]} & part for i in (0, 2, 4) for part in held)
        assert tool('split_dataset', root).code == 2  # nothing is overwritten
        for path in sorted((root / 'splits').rglob('*'), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(('options', 'message'), [
    (('--folds', 1), '1 folds: expected 2 or more'), (('--folds', 9), 'there are 4 images'),
    (('--folds', -1), '-1 folds'), (('--folds', 2, '--val', 0.2), '--val and --folds exclude each other'),
    (('--groups', 'nowhere'), 'nowhere: cannot'), (('--seed', -1), '--seed is -1')])
def test_wrong_options(options, message, tool, tmp_path):
    root = coco(tmp_path / 'one', {'all.json': 'images'})
    result = tool('split_dataset', root, *options)
    assert result.code == 2 and message in result.err and len(result.err.strip().splitlines()) <= 2, result.err
    assert not (root / 'splits').exists()
