"""Hostile files of YOLO, Pascal VOC and LabelMe: refused by name, in little time and memory."""
import json

import pytest

from mmvision_mamba.datasets import formats
from mmvision_mamba.datasets.coco_annotations import check_files
from mmvision_mamba.errors import DataError

from ..helpers import formats as written

LAUGHS = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + ''.join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)) + ']><annotation>&j;</annotation>'
OBJECT = '<annotation><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>5</ymin><xmax>30</xmax><ymax>9</ymax>{}'
END = '</bndbox></object></annotation>'
PAGES = {
    'empty': ('', 'it is no XML'), 'cut off': (OBJECT.format('cat', 3, ''), 'it is no XML'),
    'entities': (LAUGHS, 'declares a document type'),
    'a file of the system': ('<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
                             'declares a document type'),
    'deep': ('<annotation>' + '<a>' * 100_000, 'more than 20 elements in each other'),
    'an unknown encoding': ('<?xml version="1.0" encoding="ebcdic-of-mars"?><annotation/>', 'it is no XML'),
    'another root': ('<annotation-like/>', 'its root is annotation-like'),
    'no name': (OBJECT.format(' ', 3, END), 'object 1: it has no name'),
    'a box in words': (OBJECT.format('cat', '\u202ered', END), r"its xmin is '\u202ered'"),
    'a box of digits': (OBJECT.format('cat', '9' * 5000, END), 'object 1: its xmin is')}


def refused(name):
    with pytest.raises(DataError) as error:
        check_files(formats.read(name))
    lines = str(error.value).splitlines()
    assert len(lines) <= 2 and max(map(len, lines)) < 700 and '\x1b' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('page', PAGES)
def test_xml(page, tmp_path):
    written.voc(tmp_path)
    text, words = PAGES[page]
    (tmp_path / 'Annotations/train 0.xml').write_text(text)
    found = refused(f'{tmp_path}/#voc-train')
    assert words in found and 'Annotations/train 0.xml' in found


YAMLS = {
    'references': ('a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\ntrain: train/images\n', 'it has references'),
    'an object': ('!!python/object/apply:os.system ["touch /tmp/pwned"]\n', 'expected keys and values'),
    'deep': ('names: ' + '[' * 50_000, 'no YAML that can be read'), 'a list': ('[a, b]', 'expected keys and values'),
    'large': ('#' * (2**20 + 1), 'it cannot be read'), 'binary': ('names: "\x01"', 'no YAML'),
    'a key of lists': ('? [a, b]\n: c\n', 'no YAML'),
    'an escape': ('train: "\\e[2Jgone"\nnames: [cat]\n', 'train is')}


@pytest.mark.parametrize('name', YAMLS)
def test_yaml(name, tmp_path):
    written.yolo(tmp_path)
    text, words = YAMLS[name]
    (tmp_path / 'data.yaml').write_text(text)
    assert words in refused(f'{tmp_path}/data.yaml#yolo-train')


def test_more_objects_than_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv('MMVISION_MAMBA_MAX_OBJECTS', '10')
    written.yolo(tmp_path)
    (tmp_path / 'train/labels/train 0.txt').write_text('0 0.5 0.5 0.1 0.1\n' * 11)
    assert 'it has 11 lines, and 10 objects are allowed' in refused(f'{tmp_path}/data.yaml#yolo-train')
    monkeypatch.setenv('MMVISION_MAMBA_MAX_LABEL_BYTES', '100')
    assert 'and 100 are allowed' in refused(f'{tmp_path}/data.yaml#yolo-train')


@pytest.mark.parametrize('text', ['', '{', '[' * 100_000, '{"shapes": [' + '9' * 5000 + ']}', '\udcff'])
def test_json(text, tmp_path):
    written.labelme(tmp_path)
    (tmp_path / 'train/train 0.json').write_bytes(text.encode(errors='surrogateescape'))
    assert 'train/train 0.json' in refused(f'{tmp_path}/#labelme-train')


def test_names_from_files_are_checked_as_those_of_coco_are(tmp_path):
    from mmvision_mamba.datasets.coco_annotations import coco_problems
    written.labelme(tmp_path)
    path = tmp_path / 'train/train 0.json'
    content = json.loads(path.read_text())
    content['shapes'][0]['label'] = '{{$HOME:x}}\x1b'
    path.write_text(json.dumps(content))
    problems = coco_problems(formats.read(f'{tmp_path}/#labelme-train'))
    assert any(problem.kind == 'category record' for problem in problems)


def test_images_that_are_none_are_left_out(tmp_path):
    written.yolo(tmp_path)
    (tmp_path / 'train/images/train 0.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    problem, = formats.read(f'{tmp_path}/data.yaml#yolo-train').problems
    assert problem.kind == 'files left out' and 'train 0.png' in problem.detail


@pytest.mark.timeout(60)
def test_no_more_of_a_file_is_looked_at_than_may_be_read(tmp_path, monkeypatch):
    (tmp_path / 'a.json').write_text(f'{{"imageData": "{" " * 2**17}", "shapes": []}}')
    assert formats.find(str(tmp_path), 'labelme') == {'all': formats.Source('', 'labelme', 'all')}
    monkeypatch.setenv('MMVISION_MAMBA_MAX_LABEL_BYTES', '100')
    assert formats.find(str(tmp_path), 'labelme') == {}


def test_lines_of_spaces_cost_no_more_than_others(tmp_path):
    """A pattern that looks for spaces at an end tries each of them."""
    written.voc(tmp_path)
    path = tmp_path / 'ImageSets/Main/train.txt'
    names = path.read_text().splitlines()
    path.write_text(''.join(f'{name}  -1\n' for name in names) + 'a' + ' ' * 500_000 + 'x\n')
    content = formats.read(f'{tmp_path}/#voc-train')
    assert len(content['images']) == len(names) and len(content.problems) == 1


@pytest.mark.timeout(60)
def test_entries_that_say_the_same_are_looked_up_once(tmp_path, monkeypatch):
    from mmvision_mamba.datasets.formats import yolo_yaml
    written.yolo(tmp_path)
    looked = []
    real = yolo_yaml.find_files
    monkeypatch.setattr(yolo_yaml, 'find_files', lambda *args: looked.append(args) or real(*args))
    images = len(formats.read(f'{tmp_path}/data.yaml#yolo-train')['images'])
    looked.clear()
    text = (tmp_path / 'data.yaml').read_text().splitlines()
    others = [line for line in text if not line.startswith('train:')]
    ways = [f'train{"/." * (i % 50)}/images' for i in range(2000)]
    (tmp_path / 'data.yaml').write_text('\n'.join([*others, f'train: [{", ".join(ways)}]']) + '\n')
    assert len(formats.read(f'{tmp_path}/data.yaml#yolo-train')['images']) == images
    assert len(looked) <= 2


@pytest.mark.timeout(60)
def test_a_long_list_of_paths_that_lead_nowhere(tmp_path):
    written.yolo(tmp_path)
    lines = [f'{"a/" * 60}{i}.png' for i in range(3000)]
    (tmp_path / 'list.txt').write_text('\n'.join([*lines, '/home/user/project/data/train/images/train 0.png']))
    text = (tmp_path / 'data.yaml').read_text().splitlines()
    (tmp_path / 'data.yaml').write_text('\n'.join(
        [line for line in text if not line.startswith('train:')] + ['train: list.txt']) + '\n')
    content = formats.read(f'{tmp_path}/data.yaml#yolo-train')
    assert [image['file_name'] for image in content['images']] == ['train/images/train 0.png']


@pytest.mark.timeout(60)
@pytest.mark.parametrize('line', ['a' + ' ' * 500_000 + 'x', 'a' + '1' * 500_000 + 'x', 'a' + ', ' * 300_000 + 'x'])
def test_lines_of_a_list_of_masks_cost_no_more_than_others(line):
    from mmvision_mamba.datasets.image_mask_lists import _without_number
    assert _without_number(line) == line


@pytest.mark.parametrize(('line', 'name'), [
    ('a.png 7', 'a.png'), ('a.png,7', 'a.png'), ('a.png , -1', 'a.png'), ('a 12', 'a'), ('a12', 'a12'), ('a-1', 'a-1'),
    ('12', '12'), ('a b', 'a b'), ('a,b', 'a,b'), ('a -1', 'a')])
def test_a_number_at_the_end_of_a_line(line, name):
    from mmvision_mamba.datasets.image_mask_lists import _without_number
    assert _without_number(line) == name


@pytest.mark.timeout(60)
def test_colours_of_no_class_are_counted_where_they_are_first_seen():
    import io

    import numpy as np
    from PIL import Image

    from mmvision_mamba.datasets import colour_maps
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, 'bmp')
    with pytest.raises(DataError, match=r'colours of no class: \(.*pixels\), … \(\d+ in all\)') as error:
        colour_maps.labels_of_colours(file.getvalue(), [(0, 0, 0)])
    assert len(str(error.value)) < 400


@pytest.mark.parametrize('mode', ['RGB', 'P'])
def test_masks_of_colours_are_read_by_strips(mode, monkeypatch):
    import io

    import numpy as np
    from PIL import Image

    from mmvision_mamba.datasets import colour_maps
    monkeypatch.setattr(colour_maps, '_STRIP', 100)
    labels = np.random.default_rng(0).integers(0, 3, (67, 41), dtype=np.uint8)
    colours = [(0, 0, 0), (10, 200, 30), (255, 255, 254)]
    image = Image.fromarray(labels, 'P') if mode == 'P' else Image.fromarray(np.array(colours, np.uint8)[labels])
    if mode == 'P':
        image.putpalette([value for colour in colours for value in colour])
    file = io.BytesIO()
    image.save(file, 'png')
    np.testing.assert_array_equal(colour_maps.labels_of_colours(file.getvalue(), colours), labels)


def test_large_yaml_files_are_parsed_once_and_not_many_of_them(tmp_path, monkeypatch):
    """One of a megabyte, which is allowed, takes seconds."""
    import yaml

    from mmvision_mamba.datasets.formats import yolo
    written.yolo(tmp_path)
    for i in range(8):
        (tmp_path / f'other{i}.yaml').write_text('a: b\n' + '#' * 300_000)
    parsed = []
    real = yaml.load
    monkeypatch.setattr(yaml, 'load', lambda text, loader: parsed.append(len(text)) or real(text, loader))
    text = (tmp_path / 'data.yaml').read_text() + f'# {tmp_path}\n'
    (tmp_path / 'data.yaml').write_text(text)
    assert yolo.find(str(tmp_path))['train'] == 'data.yaml' and len(parsed) < 6
    for split in ('train', 'val'):
        assert formats.read(f'{tmp_path}/data.yaml#yolo-{split}')['images']
    assert parsed.count(len(text)) == 1
