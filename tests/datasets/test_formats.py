"""Readers of other formats than COCO's, on folders as exporters and people lay them out."""
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmvision_mamba.datasets import formats
from mmvision_mamba.datasets.coco_annotations import check_files, coco_problems
from mmvision_mamba.datasets.formats.writing import Split, write
from mmvision_mamba.errors import DataError

from ..helpers import formats as written

BOXES = {  # data.yaml, where images lie, labels
    'as exporters write it': ('train: ../train/images\nval: ../valid/images\n', 'train/images', 'valid/images'),
    'with a path': ('path: ../datasets/mine\ntrain: images/train\nval: images/val\n', 'images/train', 'images/val'),
    'with the path of another machine': ('path: /content/mine\ntrain: images/train\nval: images/val\n', 'images/train',
                                         'images/val'),
    'absolute, of another machine': ('train: C:\\data\\mine\\train\\images\nval: /home/me/mine/val/images\n',
                                     'train/images', 'val/images'),
    "under a project's name": ('train: cats-1/train/images\nvalid: cats-1/valid/images\n', 'train/images',
                               'valid/images'),
    'several folders': ('train: [a/images, b/images]\nval: valid/images\n', 'a/images', 'valid/images'),
    'lists': ('train: train.txt\nval: val.txt\n', 'images/train', 'images/val'),
    'labels beside images': ('train: train\nval: valid\n', 'train', 'valid')}


def picture(path, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path)


def yolo(root, lines, yaml='train: train/images\nval: train/images\nnames: {0: cat, 1: dog}\n', name='a b.jpg'):
    picture(root / 'train/images' / name)
    path = root / 'train/labels' / name.replace('.jpg', '.txt')
    path.parent.mkdir(exist_ok=True)
    path.write_text('\n'.join(lines))
    (root / 'data.yaml').write_text(yaml)
    return formats.read(f'{root}/data.yaml#yolo-train')


@pytest.mark.parametrize('layout', BOXES)
def test_yolo_finds_what_data_yaml_means(layout, tmp_path):
    yaml, *folders = BOXES[layout]
    root = tmp_path / 'unpacked'
    for folder, split in zip((*folders, 'b/images'), ('train', 'val', 'train')):
        if folder.startswith('b/') and 'b/images' not in yaml:
            continue
        picture(root / folder / f'{split}{folder[0]}.jpg')
        labels = root / folder.replace('images', 'labels')
        labels.mkdir(parents=True, exist_ok=True)
        (labels / f'{split}{folder[0]}.txt').write_text('0 0.5 0.5 0.5 0.5\n')
        if '.txt' in yaml:
            (root / f'{split}.txt').write_text(f'./{folder}/{split}{folder[0]}.jpg\n')
    (root / 'data.yaml').write_text(f'{yaml}names: [cat]\n')
    found = formats.find(str(root), 'yolo')
    assert set(found) == {'train', 'val'}
    for split, source in found.items():
        content = formats.read(f'{root}/{source}')
        count = 2 if 'b/images' in yaml and split == 'train' else 1
        assert len(content['images']) == len(content['annotations']) == count
        assert content['annotations'][0]['bbox'] == [10, 5, 20, 10] and not content.problems
        assert (root / content['images'][0]['file_name']).is_file()


def test_labels_of_a_split_that_lie_elsewhere_are_named(tmp_path):
    """images/train beside labels/ that nothing splits would be a data set without objects."""
    root = written.yolo_classes(tmp_path / 'data')
    (root / 'data.yaml').write_text('train: images/train\nval: images/val\nnames: [cat, dog, eel]\n')
    for label in [*(root / 'labels/train').iterdir()]:
        label.rename(root / 'labels' / label.name)
    with pytest.raises(DataError, match=r'none of the 4 images of train has a label file. That of images/train/train '
                       r'0\.png is labels/train 0\.txt, and is looked for as labels/train/train 0\.txt'):
        formats.read(f'{root}/data.yaml#yolo-train')
    assert formats.read(f'{root}/data.yaml#yolo-val')['annotations']
    for label in (root / 'labels').glob('*.txt'):
        label.unlink()
    for i, image in enumerate(sorted((root / 'images/train').iterdir())):  # as images of val, with labels, are called
        image.rename(image.with_name(f'val {i}.png'))
    assert not formats.read(f'{root}/data.yaml#yolo-train')['annotations']


@pytest.mark.parametrize(('names', 'read'), [
    ('[cat, no, 3]', ['cat', 'no', '3']), ('{1: dog, 0: cat}', ['cat', 'dog']),
    ('{0: cat, 2: eel}', ['cat', 'class_1', 'eel']),
    ('\n- cat\n- "a: b"', ['cat', 'a: b'])])
def test_yolo_names(names, read, tmp_path):
    content = yolo(tmp_path, [], f'train: train/images\nnames: {names}\n')
    assert [category['name'] for category in content['categories']] == read


def test_yolo_lines(tmp_path):
    content = yolo(tmp_path, ['1 0.5 0.5 0.5 0.5', '', '0 0.1 0.1 0.5 0.1 0.5 0.9', '1.0 0.5 0.5 0.2 0.2 0.93'])
    boxes = [annotation['bbox'] for annotation in content['annotations']]
    assert boxes == [[10, 5, 20, 10], [4, 2, 16, 16], [16, 8, 8, 4]]
    assert [len(annotation['segmentation'][0]) for annotation in content['annotations']] == [8, 6, 8]
    assert '1 boxes with a score' in content.notes[0] and '2 boxes among polygons' in content.notes[1]


@pytest.mark.parametrize(('number', 'of'), [(17, 3), (5, 3), (4, 3), (2, 2), (1, 3), (1, 2)])
@pytest.mark.parametrize('score', ['', ' 0.9'])
def test_yolo_keypoints_are_passed_over(number, of, score, tmp_path):
    content = yolo(tmp_path, ['0 0.5 0.5 0.5 0.5' + ' 0.1 0.2 2'[:8 if of == 2 else None] * number + score] * 2,
                   f'train: train/images\nnames: [cat]\nkpt_shape: [{number}, {of}]\n')
    assert not content.problems
    assert [(a['bbox'], 'segmentation' in a) for a in content['annotations']] == [([10, 5, 20, 10], False)] * 2


def test_two_splits_do_not_lead_to_one_folder_that_neither_names(tmp_path):
    picture(tmp_path / 'images/a.jpg')
    for train, val in (('train/images', 'val/images'), ('../train/images', '/old/valid/images'),
                       ('images', 'val/images')):
        (tmp_path / 'data.yaml').write_text(f'train: {train}\nval: {val}\nnames: [cat]\n')
        with pytest.raises(DataError, match=rf"train is '{train}' and val is '{val}', and there is but .*images"):
            formats.read(f'{tmp_path}/data.yaml#yolo-train')
    for both in ('images', 'train/images', '/data/train/images'):
        (tmp_path / 'data.yaml').write_text(f'train: {both}\nval: {both}\nnames: [cat]\n')
        assert len(formats.read(f'{tmp_path}/data.yaml#yolo-val')['images']) == 1


def test_images_without_labels_and_turned_ones_are_there(tmp_path):
    picture(tmp_path / 'train/images/empty.png')
    image = Image.new('RGB', (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'train/images/turned.jpg', exif=exif)
    content = yolo(tmp_path, ['0 0.5 0.5 0.5 0.5'])
    sizes = {image['file_name'][13:]: (image['width'], image['height']) for image in content['images']}
    assert sizes == {'a b.jpg': (40, 20), 'empty.png': (40, 20), 'turned.jpg': (20, 40)}


@pytest.mark.parametrize(('yaml', 'words'), [
    ('train: gone/images\nnames: [cat]', "train is 'gone/images', and there is no such file or folder"),
    ('train: train/images\nnames: [cat]\nnc: 2', 'nc is 2, and names has 1'),
    ('train: train/images\nnames: {a: cat}', "names has the key 'a'"),
    ('train: train/images\nnames: {99999999: cat}', 'names has a class 99999999'),
    ('train: train/images\nnames: {0: [cat]}', 'names is no list of names'),
    ('train: train/images\nnames: ["", dog]', 'the class 0 of names has an empty name'),
    ('train: train/images\nnames: [cat, " "]', 'the class 1 of names has an empty name'),
    ('val: train/images\nnames: [cat]', 'it has no train')])
def test_yolo_files_that_say_nothing(yaml, words, tmp_path):
    with pytest.raises(DataError) as error:
        yolo(tmp_path, [], yaml)
    assert words in str(error.value) and 'data.yaml' in str(error.value)


LINES = {'0 0.5 0.5 0.5': '3 numbers behind the class', '0 0.1 0.1 0.2 0.2 0.3 0.3 0.4': '7 numbers behind the class',
         'x 0.5 0.5 0.5 0.5': "expected numbers, got 'x 0.5", '0 0.5 nan 0.5 0.5': 'no finite number',
         '0 320 200 64 64': 'a coordinate is 320: they are fractions', '-1 0.5 0.5 0.1 0.1': 'the class is -1',
         '0.5 0.5 0.5 0.1 0.1': 'the class is 0.5', '0 0.5 0.5 0.5 1e400': 'no finite number',
         '\u0663 0.5 0.5 0.5 0.5': 'expected numbers', '0 0.5 0.5 0.5 0_1': 'expected numbers'}


@pytest.mark.parametrize('line', LINES)
def test_broken_lines_are_named(line, tmp_path):
    content = yolo(tmp_path, ['1 0.5 0.5 0.5 0.5', line])
    problem, = content.problems
    assert problem.where == 'train/labels/a b.txt, line 2' and LINES[line] in problem.detail
    with pytest.raises(DataError, match=r'a b\.txt, line 2: (.|\n)*1 files, lines or objects'):
        check_files(content)


def test_classes_beyond_the_names_and_boxes_outside_are_left_out(tmp_path):
    content = yolo(tmp_path, ['7 0.5 0.5 0.5 0.5', '0 1.3 1.3 0.1 0.1', '1 0.5 0.5 0.2 0.2', '0 0.5 0.5 0.2 0.2'])
    found = {problem.kind: problem.where for problem in coco_problems(content)}
    assert found == {'unknown category': 'train/labels/a b.txt, line 1', 'box outside': 'train/labels/a b.txt, line 2'}


def test_boxes_that_stick_out_are_corrected_where_they_were_made(tmp_path):
    problem, = coco_problems(yolo(tmp_path, ['0 0.9 0.5 0.5 0.5']))
    assert problem.kind == 'box sticks out' and problem.way_out('data.yaml') == 'correct them where they were made'


@pytest.mark.parametrize(('images', 'labels', 'suffix'), [
    ('images', 'labels', '.TXT'), ('Images', 'Labels', '.txt'), ('IMAGES', 'labels', '.Txt'),
    ('images', 'Labels', '.txt')])
def test_yolo_labels_are_found_in_any_case(images, labels, suffix, tmp_path):
    for split in ('train', 'val'):
        for number in range(2):
            picture(tmp_path / images / split / f'{number}.JPG')
            path = tmp_path / labels / split / f'{number}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('0 0.5 0.5 0.2 0.4\n')
    path.with_name('lost.TXT').write_text('0 0.5 0.5 0.2 0.4\n')
    (tmp_path / 'classes.txt').write_text('cat\n')
    assert {*formats.find(str(tmp_path), 'yolo')} == {'train', 'val'}
    for split, orphans in (('train', 0), ('val', 1)):
        content = formats.read(f'{tmp_path}/#yolo-{split}')
        assert len(content['images']) == len(content['annotations']) == 2
        assert ['label files have no image' in problem.detail for problem in content.problems] == [True] * orphans


def test_a_data_yaml_far_below_counts_where_nothing_else_names_the_classes(tmp_path):
    yolo(tmp_path / 'v1/export', ['1 0.5 0.5 0.2 0.4'])
    source = formats.find(str(tmp_path), 'yolo')['train']
    assert source.path == 'v1/export/data.yaml'
    assert [one['name'] for one in formats.read(tmp_path / str(source))['categories']] == ['cat', 'dog']
    (tmp_path / 'classes.txt').write_text('ant\nbee\n')
    assert formats.find(str(tmp_path), 'yolo')['train'].path == ''


def test_yolo_images_lie_where_an_absolute_path_says(tmp_path):
    content = yolo(tmp_path / 'images', ['0 0.5 0.5 0.5 0.5'])
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/data.yaml').write_text(f'path: {tmp_path.as_posix()}/images\ntrain: train/images\nnames: [cat]\n')
    again = formats.read(f'{tmp_path}/mine/data.yaml#yolo-train')
    assert [image['file_name'] for image in again['images']] == ['../images/train/images/a b.jpg']
    assert again['annotations'][0]['bbox'] == content['annotations'][0]['bbox']


@pytest.mark.parametrize('lists', [True, False])
def test_voc_layouts(lists, tmp_path):
    written.voc(tmp_path, lists)
    found = formats.find(str(tmp_path), 'voc')
    assert set(found) == {'train', 'val'}
    for split, source in found.items():
        content = formats.read(tmp_path / str(source))
        assert len(content['images']) == written.SPLITS[split]
        assert [a['bbox'] for a in content['annotations']] == [
            list(written.box_of(polygon)) for n in range(written.SPLITS[split])
            for _, polygon in written.objects(split, n)]


def test_the_lists_of_voc_count_in_a_folder_above_its_own(tmp_path):
    written.voc(tmp_path / 'VOCtrainval/VOCdevkit/VOC2012')
    found = formats.find(str(tmp_path), 'voc')
    counts = {split: len(formats.read(tmp_path / str(source))['images']) for split, source in found.items()}
    assert counts == written.SPLITS
    written.voc_instances(tmp_path / 'masks/VOCtrainval/VOCdevkit/VOC2012')
    assert {*formats.find(str(tmp_path / 'masks'), 'voc_instances')} == {'train', 'val'}


def test_one_voc_data_set_at_a_time(tmp_path):
    for year in ('VOC2007', 'VOC2012'):
        written.voc(tmp_path / year)
    with pytest.raises(DataError, match='several data sets of Pascal VOC'):
        formats.find(str(tmp_path), 'voc')
    assert len(formats.read(f'{tmp_path}/VOC2012/#voc-train')['images']) == 4


def voc(root, page):
    picture(root / 'train/a.jpg')
    (root / 'train/a.xml').write_text(page)
    return formats.read(f'{root}/#voc-train')


def test_voc_counts_from_one_where_voc_does_and_knows_difficult_objects(tmp_path):
    database = '<source><database>The VOC2007 Database</database></source>'
    page = ('<annotation>{}<object><name>cat</name><difficult>1</difficult><bndbox><ymin>5</ymin><xmin>3</xmin>'
            '<xmax>20.5</xmax><ymax>9</ymax></bndbox></object></annotation>')
    annotation, = voc(tmp_path, page.format(''))['annotations']
    assert annotation['bbox'] == [3, 5, 17.5, 4] and annotation['iscrowd'] == 1
    annotation, = voc(tmp_path, page.format(database))['annotations']
    assert annotation['bbox'] == [2, 4, 17, 4]  # see the test beside mmdet's


def labelme(root, shapes, **page):
    picture(root / 'train/a.jpg')
    (root / 'train/a.json').write_text(json.dumps(dict(dict(imagePath='..\\train\\a.jpg', shapes=shapes), **page)))
    return formats.read(f'{root}/#labelme-train')


def shape(points, kind='polygon', label='cat', group=None):
    return dict(label=label, points=points, shape_type=kind, group_id=group)


def test_labelme_shapes(tmp_path):
    content = labelme(tmp_path, [
        shape([[20, 10], [4, 2]], 'rectangle'), shape([[20, 10], [23, 14]], 'circle'),
        shape([[1, 1], [5, 1], [5, 5]], group=3), shape([[9, 1], [9, 5], [13, 5]], group=3),
        shape([[1, 1], [5, 1], [5, 5]], label='dog', group=3), shape([[1, 1], [2, 2]], 'line'),
        shape([[0, 0], [40, 0], [40, 20]], label='_background_')])
    boxes = [annotation['bbox'] for annotation in content['annotations']]
    assert boxes == [[4, 2, 16, 8], [15, 5, 10, 10], [1, 1, 12, 4], [1, 1, 4, 4]]
    assert len(content['annotations'][2]['segmentation']) == 2
    assert content.notes == ['1 shapes of the type line, left out']
    assert content['annotations'][1]['area'] == pytest.approx(math.pi * 25, rel=2e-3)


def test_labelme_files_that_are_wrong(tmp_path):
    content = labelme(tmp_path, [shape([[1, 1], [math.nan, 2], [3, 3]]), shape([[1, 1], [5, 5]]), 7,
                                 shape([[1, 1]], 'circle'), dict(points=[])])
    assert [problem.where for problem in content.problems] == [f'train/a.json, shape {i}' for i in (1, 3, 4, 5)]
    short = [p.where for p in coco_problems(content, masks=True) if p.kind == 'polygon short']
    assert short == ['train/a.json, shape 2']


def test_annotations_without_images_are_counted(tmp_path):
    written.labelme(tmp_path)
    (tmp_path / 'train/train 0.png').unlink()
    content = formats.read(f'{tmp_path}/#labelme-train')
    problem, = content.problems
    assert problem.kind == 'files left out' and len(content['images']) == 3
    assert problem.detail == '1 annotation files have no image: train/train 0.json'


def test_a_file_of_such_a_name_is_a_file(tmp_path):
    (tmp_path / 'a#voc-train').write_text('{}')
    assert formats.source_of(tmp_path / 'a#voc-train') is None
    assert formats.source_of(f'{tmp_path}/#voc-train').folder == f'{tmp_path}/'
    with pytest.raises(DataError, match='no such file or folder'):
        formats.read(f'{tmp_path}/gone.yaml#yolo-train')


THOUSANDTHS = st.integers(0, 39_000).map(lambda n: n / 1000)
POLYGON = st.lists(st.tuples(THOUSANDTHS, THOUSANDTHS), min_size=3, max_size=6).map(
    lambda points: [round(v, 3) for point in points for v in point])
OBJECT = st.tuples(st.integers(0, 2), st.lists(POLYGON, max_size=2), st.tuples(*[THOUSANDTHS] * 4))


def content_of(objects, outlined):
    from mmvision_mamba.datasets.formats.content import Builder
    builder = Builder(['cat', 'dog: "1"', '<eel> & co'])
    builder.add_image('pic/türe.png', 40, 40, '')
    for label, polygons, box in objects:
        if outlined and not polygons:
            continue
        builder.add_object(label, '', None if outlined else box, polygons if outlined else None)
    return builder.finished()


@pytest.mark.parametrize(('target', 'name'), [('yolo', 'data.yaml#yolo-train'), ('voc', '#voc-train')])
@given(objects=st.lists(OBJECT, max_size=4), outlined=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trips(target, name, objects, outlined, tmp_path_factory):
    folder = tmp_path_factory.mktemp('round')
    picture(folder / 'in/pic/türe.png', (40, 40))
    content, lost = content_of(objects, outlined), Counter()
    write(target, {'train': Split(content, str(folder / 'in'), lost)}, folder)
    again = formats.read(f'{folder}/{name}')
    names = {category['id']: category['name'] for category in again['categories']}
    assert [names[a['category_id']] for a in again['annotations']] == \
        [content['categories'][a['category_id']]['name'] for a in content['annotations']]
    for one, other in zip(content['annotations'], again['annotations'], strict=True):
        np.testing.assert_allclose(one['bbox'], other['bbox'], atol=1.001e-3 if 'segmentation' not in one else 1e-9)
        polygons = one.get('segmentation', [])
        if len(polygons) == 1:
            np.testing.assert_array_equal(polygons, other['segmentation'])
        elif target == 'voc':
            assert 'segmentation' not in other
    several = sum(len(a.get('segmentation', ())) > 1 for a in content['annotations'])
    assert sum(lost.values()) == several


def voc_file(path, name, size=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    said = '' if size is None else f'<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>'
    path.write_text(f'<annotation><filename>{name}</filename>{said}<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2'
                    '</ymin><xmax>11</xmax><ymax>12</ymax></bndbox></object></annotation>')


def labelme_file(path, name, size=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {} if size is None else dict(imageWidth=size[0], imageHeight=size[1])
    path.write_text(json.dumps(dict(said, imagePath=name, shapes=[dict(
        label='cat', shape_type='rectangle', points=[[1, 2], [11, 12]])])))


ONE_EACH = dict(voc=('.xml', voc_file), labelme=('.json', labelme_file))


@pytest.mark.parametrize('kind', ONE_EACH)
def test_the_size_is_that_which_the_annotations_are_for(kind, tmp_path):
    suffix, write_file = ONE_EACH[kind]
    sizes = [None, (0, 0), ('', None), (40, 20), (400, 200), (20, 40), ('400.0', '200')]
    for i, size in enumerate(sizes):
        picture(tmp_path / f'{i}.jpg')
        write_file(tmp_path / f'{i}{suffix}', f'{i}.jpg', size)
    content = formats.read(f'{tmp_path}#{kind}-all')
    assert [(image['width'], image['height']) for image in content['images']] == [
        (40, 20)] * 4 + [(400, 200), (20, 40), (400, 200)]


@pytest.mark.parametrize('kind', ONE_EACH)
def test_an_image_beside_its_annotations_is_theirs_whatever_they_call_it(kind, tmp_path):
    suffix, write_file = ONE_EACH[kind]
    for i in range(3):
        picture(tmp_path / f'{i}.jpg')
        write_file(tmp_path / f'{i}{suffix}', '1.jpg')
    picture(tmp_path / '2.png')
    write_file(tmp_path / f'2{suffix}', '2.png')
    write_file(tmp_path / f'other{suffix}', '1.jpg')
    content = formats.read(f'{tmp_path}#{kind}-all')
    assert [image['file_name'] for image in content['images']] == ['0.jpg', '1.jpg', '2.png', '1.jpg']
    assert any('1 images have annotations in several files' in note and '1.jpg' in note for note in content.notes)


@pytest.mark.parametrize('line', ['0', '0.jpg', 'val/0', 'JPEGImages/val/0.jpg', '0 1'])
def test_annotations_of_one_name_in_folders_of_splits_are_told_apart(line, tmp_path):
    for split, width in (('train', 40), ('val', 60)):
        picture(tmp_path / f'JPEGImages/{split}/0.jpg', (width, 20))
        voc_file(tmp_path / f'Annotations/{split}/0.xml', '0.jpg', (width, 20))
    lines = tmp_path / 'ImageSets/Main/val.txt'
    lines.parent.mkdir(parents=True)
    lines.write_text(f'{line}\n')
    image, = formats.read(f'{tmp_path}#voc-val')['images']
    assert (image['file_name'], image['source']) == ('JPEGImages/val/0.jpg', 'Annotations/val/0.xml')


@pytest.mark.parametrize('lists', [False, True])
def test_masks_of_one_name_in_folders_of_splits_are_told_apart(lists, tmp_path):
    written.voc_instances(tmp_path)
    for folder in ('JPEGImages', 'SegmentationObject', 'SegmentationClass'):
        for path in [*(tmp_path / folder).iterdir()]:
            split, name = path.name.split(' ')
            (tmp_path / folder / split).mkdir(exist_ok=True)
            path.rename(tmp_path / folder / split / name)
    for split in written.SPLITS:
        path = tmp_path / f'ImageSets/Segmentation/{split}.txt'
        path.write_text(path.read_text().replace(f'{split} ', f'{split}/' if split == 'train' else '')) \
            if lists else path.unlink()
    for split, count in written.SPLITS.items():
        content = formats.read(f'{tmp_path}#voc_instances-{split}')
        assert [image['file_name'] for image in content['images']] == [
            f'JPEGImages/{split}/{n}.png' for n in range(count)]
        assert len(content['annotations']) == sum(len(written.objects(split, n)) for n in range(count))
        assert not content.problems
    for folder in ('JPEGImages', 'SegmentationObject', 'SegmentationClass'):
        (tmp_path / folder / 'val').rename(tmp_path / folder / 'more')
    if not lists:
        problem, = formats.read(f'{tmp_path}#voc_instances-train').problems
        assert '2 annotated images lie in folders named after no split' in problem.detail


@pytest.mark.parametrize('kind', ['voc', 'labelme', 'yolo_folders'])
def test_what_lies_in_folders_of_no_split_is_said(kind, tmp_path):
    for folder in ('train', 'val', 'more'):
        for i in range(3):
            picture(tmp_path / folder / f'{i}.jpg')
            if kind == 'yolo_folders':
                (tmp_path / folder / f'{i}.txt').write_text('0 0.5 0.5 0.5 0.5')
            else:
                suffix, write_file = ONE_EACH[kind]
                write_file(tmp_path / folder / f'{i}{suffix}', f'{i}.jpg')
    name = kind.removesuffix('_folders')
    assert [*formats.find(str(tmp_path), name)] in (['train', 'val'], ['val', 'train'])
    train, val = (formats.read(f'{tmp_path}#{name}-{split}') for split in ('train', 'val'))
    assert len(train['images']) == 3
    assert next(problem.detail for problem in train.problems).startswith(
        '3 annotated images lie in folders named after no split, where others are: more/0')
    assert not val.problems


def test_a_list_of_training_and_validation_alone_is_trained_on(tmp_path):
    for i in range(3):
        picture(tmp_path / f'JPEGImages/{i}.jpg')
        voc_file(tmp_path / f'Annotations/{i}.xml', f'{i}.jpg')
    (tmp_path / 'ImageSets/Main').mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/trainval.txt').write_text('0\n1\n')
    (tmp_path / 'ImageSets/Main/test.txt').write_text('2\n')
    assert len(formats.read(f'{tmp_path}#voc-train')['images']) == 2
    (tmp_path / 'ImageSets/Main/train.txt').write_text('0\n')
    assert len(formats.read(f'{tmp_path}#voc-train')['images']) == 1


@pytest.mark.parametrize('kind', ONE_EACH)
def test_of_several_images_of_a_name_the_one_of_the_size_is_meant(kind, tmp_path):
    suffix, write_file = ONE_EACH[kind]
    picture(tmp_path / 'images/0.jpg')
    picture(tmp_path / 'a_thumbs/0.jpg', (10, 5))
    write_file(tmp_path / f'annotations/0{suffix}', '0.jpg', (40, 20))
    assert [image['file_name'] for image in formats.read(f'{tmp_path}#{kind}-all')['images']] == ['images/0.jpg']
