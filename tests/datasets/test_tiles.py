"""Data sets of tiles: what they hold of their pictures, through the toolboxes' own pipelines."""
import json
import pickle
import zlib

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from pycocotools import mask as coco_mask

from mmvision_mamba.datasets import formats, tile_loading
from mmvision_mamba.datasets.loading import use_checked_loading
from mmvision_mamba.errors import ConfigError, DataError

from ..helpers import formats as written

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
WIDTH, HEIGHT = 101, 67
LOAD = dict(type='LoadImageFromFile')


def picture(seed=0, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def write(path, image):
    """BGR; a TIFF is tiled and compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.tif':
        tifffile = pytest.importorskip('tifffile')
        colour = image[..., ::-1] if image.ndim == 3 else image
        tifffile.imwrite(path, colour, photometric='rgb' if image.ndim == 3 else 'minisblack', tile=(16, 16),
                         compression='zlib')
    else:
        assert cv2.imwrite(str(path), image)


# Detectors ----------------------------------------------------------------------------------------------------------

OBJECTS = [  # x, y, width, height
    (2, 3, 20, 10), (28, 30, 10, 8), (30, 2, 60, 5), (95, 60, 6, 7), (40, 40, 3, 3)]


@pytest.fixture(params=['.png', '.tif'])
def coco(tmp_path, request):
    """coco(**settings): the data set of two pictures, one without objects."""
    init_default_scope('mmdet')
    annotations = []
    for i, (x, y, width, height) in enumerate(OBJECTS):
        mask = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        if i == 1:
            pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
            pixels[y:y + height, x:x + width] = 1
            code = coco_mask.encode(pixels)
            mask = dict(size=code['size'], counts=code['counts'].decode())
        annotations.append(dict(id=i + 1, image_id=1, category_id=1, bbox=[x, y, width, height], area=width * height,
                                iscrowd=int(i == 4), segmentation=mask))
    images = [dict(id=i, file_name=f'{i}{request.param}', width=WIDTH, height=HEIGHT) for i in (1, 2)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(images=images, annotations=annotations,
                                                     categories=[dict(id=1, name='a')])))
    for i in (1, 2):
        write(tmp_path / 'images' / f'{i}{request.param}', picture(i))

    def build(masks=True, **settings):
        pipeline = settings.pop('pipeline', [LOAD, dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
                                             dict(type='PackDetInputs')])
        return DATASETS.build(dict(dict(
            type='mmvision_mamba.datasets.coco_dataset.MendedCocoDataset', data_root=str(tmp_path), ann_file='a.json',
            data_prefix=dict(img='images'), metainfo=dict(classes=('a',)), pipeline=pipeline, _scope_='mmdet'),
            **settings))
    return build


def test_tiles_are_parts_of_their_picture(coco):
    whole = [coco()[i] for i in range(2)]
    tiles = coco(tile=32, tile_overlap=0.25, empty_tiles=1, min_visible=0)
    assert len(tiles) == 2 * 3 * 4
    for one in (tiles[i] for i in range(len(tiles))):
        sample = one['data_samples']
        (x, y), index = sample.tile_offset, sample.img_id - 1
        assert sample.picture_shape == (HEIGHT, WIDTH) and sample.img_path == whole[index]['data_samples'].img_path
        assert sample.ori_shape == sample.img_shape == (32, 32)
        assert np.array_equal(one['inputs'], whole[index]['inputs'][:, y:y + 32, x:x + 32])
        masks = whole[index]['data_samples'].gt_instances.masks.masks[:, y:y + 32, x:x + 32]
        assert np.array_equal(sample.gt_instances.masks.masks, masks[masks.any((1, 2))])
        boxes = sample.gt_instances.bboxes.tensor.numpy()
        for box, mask in zip(boxes, sample.gt_instances.masks.masks):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_crowds_and_what_is_hardly_seen_are_ignored(coco):
    tiles = coco(tile=32, tile_overlap=0, empty_tiles=1, min_visible=0.5)
    ignored = [len(tiles[i]['data_samples'].ignored_instances) for i in range(len(tiles))]
    assert sum(ignored) > 1
    full = [i for i in range(len(tiles)) if len(tiles[i]['data_samples'].gt_instances)]
    only = coco(tile=32, tile_overlap=0, empty_tiles=0, min_visible=0.5)
    assert len(only) == len(full)


def test_empty_tiles_are_chosen_once_and_for_all(coco):
    def places(dataset):
        return [(info['img_path'], info['tile']) for info in map(dataset.get_data_info, range(len(dataset)))]
    none, some, every = (places(coco(tile=32, tile_overlap=0, empty_tiles=share)) for share in (0, 0.5, 1))
    assert len(some) - len(none) == round((len(every) - len(none)) / 2)
    assert {*none} < {*some} < {*every} and some == places(coco(tile=32, tile_overlap=0, empty_tiles=0.5))
    filtered = coco(tile=32, tile_overlap=0, empty_tiles=1, filter_cfg=dict(filter_empty_gt=True))
    assert len(filtered) == len(every) // 2  # a picture without objects has no tiles then
    assert len(coco(tile=32, tile_overlap=0, empty_tiles=1, indices=1)) == len(every) // 2


def test_a_tile_larger_than_the_picture_is_the_picture(coco):
    whole, tiled = coco(), coco(tile=500)
    assert len(tiled) == 1 and whole[0]['data_samples'].gt_instances.bboxes.tensor.tolist() == tiled[0][
        'data_samples'].gt_instances.bboxes.tensor.tolist()
    assert np.array_equal(whole[0]['inputs'], tiled[0]['inputs']) and tiled[0]['data_samples'].tile_offset == (0, 0)


def test_the_same_after_a_journey_to_another_process(coco):
    tiles = coco(tile=32)
    other = pickle.loads(pickle.dumps(tiles))
    for i in (0, len(tiles) - 1):
        assert np.array_equal(tiles[i]['inputs'], other[i]['inputs'])


def test_pipelines_that_a_hook_replaces_load_tiles_too(coco):
    from mmengine.dataset import Compose
    tiles = coco(tile=32)
    tiles.pipeline = Compose([LOAD, dict(type='PackDetInputs')])
    assert tiles[0]['inputs'].shape == (3, 32, 32)
    choice = dict(type='RandomChoice', transforms=[[LOAD], [LOAD]])
    assert coco(tile=32, pipeline=[choice, dict(type='PackDetInputs')])[0]['inputs'].shape == (3, 32, 32)


def test_a_picture_of_another_size_than_annotated_is_named(coco, tmp_path):
    tiles = coco(tile=32, empty_tiles=1)
    path = tiles.get_data_info(0)['img_path']
    write(tmp_path / 'images' / path.rpartition('/')[2], picture(0, 80, 90))
    with pytest.raises(DataError, match='90 × 80 pixels'):
        tiles[0]


HALF = dict(size=[30, 50], counts=[0, 1500])
TO_AND_FRO = dict(size=[HEIGHT, WIDTH], counts=[0, *[5000, -5000] * 500, HEIGHT * WIDTH])


@pytest.mark.parametrize(('mask', 'problem'), [(HALF, r'size is \[30, 50\]'), (TO_AND_FRO, 'runs that are no lengths')])
def test_a_mask_that_can_not_be_decoded_is_named_or_left_alone(mask, problem, coco, tmp_path):
    content = json.loads((tmp_path / 'a.json').read_text())
    content['annotations'][0]['segmentation'] = mask
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf'1\.(png|tif): an object, its box .* \[2.*13.*\]: .*{problem}'):
        coco(tile=32)
    tiles = coco(masks=False, tile=32, tile_overlap=0, empty_tiles=0)
    boxes = {tuple(sample.tile_offset): sample.gt_instances.bboxes.tensor.tolist()
             for sample in (tiles[i]['data_samples'] for i in range(len(tiles)))}
    assert [2, 3, 22, 13] in boxes[0, 0]


def test_an_image_that_a_loader_leaves_out_is_left_out(coco, tmp_path):
    pipeline = [dict(type='LoadImageFromFile', ignore_empty=True), dict(type='PackDetInputs')]
    for file in (tmp_path / 'images').iterdir():
        file.write_bytes(b'nothing')
    assert coco(tile=32, pipeline=pipeline).prepare_data(0) is None


def test_sizes_that_are_none_are_refused_at_once(coco, tmp_path):
    content = json.loads((tmp_path / 'a.json').read_text())
    content['images'][0].update(width=2**30, height=2**30)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match=r'1\..*1073741824 × 1073741824 pixels are \d+ tiles, and 1000000 are allowed'):
        coco(tile=32)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(tile=31), 'tile must be a whole number of pixels, 32 or more, got 31'),
    (dict(tile=32, tile_overlap=0.6), 'tile_overlap must be a share of the tile'),
    (dict(tile=32, min_visible=2), 'min_visible must be a share, 0 to 1, got 2'),
    (dict(tile=32, empty_tiles='few'), "empty_tiles must be a share, 0 to 1, got 'few'")])
def test_settings_out_of_range(coco, settings, message):
    with pytest.raises(ConfigError, match=message):
        coco(**settings)


def test_decoded_pictures_are_bounded(coco, monkeypatch):
    tiles = coco(tile=32, empty_tiles=1)
    if tiles.get_data_info(0)['img_path'].endswith('.tif'):
        [tiles[i] for i in range(len(tiles))]
        assert not tiles._decoded._arrays  # windows are read
        return
    [tiles[i] for i in range(len(tiles))]
    assert len(tiles._decoded._arrays) == 2
    monkeypatch.setattr(tile_loading, 'KEPT', 1)
    tiles[0]
    assert len(tiles._decoded._arrays) == 1


# Segmentors ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def maps(tmp_path):
    """maps(suffix, **settings): the data set of a picture whose left half is background."""
    init_default_scope('mmseg')
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:, 60:] = np.random.default_rng(0).integers(1, 3, (HEIGHT, WIDTH - 60))
    labels[:40, :20] = 255

    def build(suffix='.png', classes=('background', 'b', 'c'), values=(0, 1, 2), **settings):
        if settings.get('tile') is None:
            write(tmp_path / 'images' / f'a{suffix}', picture())
            write(tmp_path / 'masks' / f'a{suffix}', labels)
        pipeline = [LOAD, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
        return DATASETS.build(dict(dict(
            type='mmvision_mamba.datasets.image_mask.ImageMaskDataset', data_root=str(tmp_path), ann_file='',
            data_prefix=dict(img_path='images', seg_map_path='masks'), metainfo=dict(classes=classes), values=values,
            pipeline=pipeline, _scope_='mmseg'), **settings))
    return build


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('values', [(0, 1, 2), (1, 2, 0)])
def test_maps_are_cut_with_their_pictures(maps, suffix, values):
    whole = maps(suffix, values=values)[0]
    tiles = maps(suffix, values=values, tile=40, empty_tiles=1)
    assert len(tiles) == 2 * 3
    for one in (tiles[i] for i in range(len(tiles))):
        x, y = one['data_samples'].tile_offset
        assert np.array_equal(one['inputs'], whole['inputs'][:, y:y + 40, x:x + 40])
        assert np.array_equal(one['data_samples'].gt_sem_seg.data,
                              whole['data_samples'].gt_sem_seg.data[:, y:y + 40, x:x + 40])


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('shape', [(400, 1), (1, 90), (1, 1)])
@pytest.mark.parametrize('checked', [False, True])
def test_maps_of_one_pixel_width_or_height(shape, suffix, checked, maps, tmp_path):
    labels = (np.arange(shape[0] * shape[1]) % 3).astype(np.uint8).reshape(shape)
    whole = maps(suffix)
    write(tmp_path / f'images/a{suffix}', picture(0, *shape))
    write(tmp_path / f'masks/a{suffix}', labels)
    tiles = maps(suffix, tile=64, empty_tiles=1)
    if checked:
        use_checked_loading(whole)
        use_checked_loading(tiles)
        assert np.array_equal(whole[0]['data_samples'].gt_sem_seg.data[0], labels)
    for one in (tiles[i] for i in range(len(tiles))):
        x, y = one['data_samples'].tile_offset
        assert np.array_equal(one['data_samples'].gt_sem_seg.data[0], labels[y:y + 64, x:x + 64])


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_tiles_of_background_and_unlabelled_pixels_are_empty(maps, suffix):
    maps(suffix)
    assert len(maps(suffix, tile=32, tile_overlap=0, empty_tiles=1)) == 3 * 4
    assert len(maps(suffix, tile=32, tile_overlap=0, empty_tiles=0)) == 3 * 2
    named = maps(suffix, tile=32, tile_overlap=0, empty_tiles=0, classes=('road', 'b', 'c'))
    assert len(named) == 3 * 4
    assert len(maps(suffix, tile=32, tile_overlap=0, empty_tiles=0, classes=('_background_', 'b', 'c'))) == 3 * 2


@pytest.mark.parametrize('broken', ['small', 'chunk'])
def test_tiles_of_a_broken_map_are_kept_and_loading_one_names_it(broken, maps, tmp_path):
    maps()
    path = tmp_path / 'masks/a.png'
    if broken == 'small':
        write(path, np.zeros((40, 40), np.uint8))
    else:  # half of the pixels, and no chunk behind them: Pillow raises SyntaxError
        content = path.read_bytes()
        place = content.index(b'IDAT')
        half = int.from_bytes(content[place - 4:place], 'big') // 2
        data = content[place:place + 4 + half]
        path.write_bytes(content[:place - 4] + half.to_bytes(4, 'big') + data + zlib.crc32(data).to_bytes(4, 'big')
                         + bytes([0, 0, 0, 9]) + bytes(30))
    tiles = maps(tile=32, tile_overlap=0, empty_tiles=0)
    assert len(tiles) == 3 * 4
    if broken == 'small':
        with pytest.raises(DataError, match=r'a\.png: the segmentation map is 40 × 40 pixels, its tiles are for 101'):
            tiles[0]


def test_outlines_are_drawn_in_a_tile_as_in_the_whole(tmp_path, monkeypatch):
    init_default_scope('mmseg')
    rng = np.random.default_rng(1)
    write(tmp_path / 'images/a.png', picture())
    annotations = [dict(id=i + 1, image_id=1, category_id=i % 2 + 1, bbox=[0, 0, 9, 9], area=1, iscrowd=0,
                        segmentation=[(rng.random((4, 2)) * (WIDTH, HEIGHT)).ravel().tolist()])
                   for i in range(7)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.png', width=WIDTH, height=HEIGHT)], annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in ((1, 'a'), (2, 'b'))])))

    def build(classes=('background', 'a', 'b'), **settings):
        return DATASETS.build(dict(
            type='mmvision_mamba.datasets.drawn_maps.DrawnMapDataset', data_root=str(tmp_path), ann_file='a.json',
            data_prefix=dict(img_path='images', seg_map_path=''), metainfo=dict(classes=classes),
            pipeline=[LOAD, dict(type='mmvision_mamba.datasets.map_loading.LoadAnnotations'),
                      dict(type='PackSegInputs')], _scope_='mmseg', **settings))
    whole, tiles = build()[0]['data_samples'].gt_sem_seg.data, build(tile=32, empty_tiles=1)
    assert len(tiles) == 3 * 4
    for one in (tiles[i]['data_samples'] for i in range(len(tiles))):
        x, y = one.tile_offset
        assert np.array_equal(one.gt_sem_seg.data, whole[:, y:y + 32, x:x + 32])
    for annotation in annotations:
        annotation.update(category_id=1, segmentation=[[2, 2, 12, 2, 12, 12, 2, 12]])
    annotations[0].update(category_id=2, segmentation=[[80, 53, 90, 53, 90, 60, 80, 60]])
    content = json.loads((tmp_path / 'a.json').read_text()) | dict(annotations=annotations)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    assert len(build(tile=32, tile_overlap=0, empty_tiles=0)) == 2
    content['categories'][0]['name'] = '__background__'
    (tmp_path / 'a.json').write_text(json.dumps(content))
    assert len(build(('__background__', 'b'), tile=32, tile_overlap=0, empty_tiles=0)) == 1
    monkeypatch.setenv('MMVISION_MAMBA_MAX_PARTS', '1')
    with pytest.raises(DataError, match=r'a\.png: its objects have more than 1 parts'):
        build(('__background__', 'b'), tile=32)


def test_a_broken_picture_is_one_tile_whose_error_names_it(maps, tmp_path):
    maps()
    (tmp_path / 'images/a.png').write_bytes(b'nothing')
    tiles = maps(tile=32)
    assert len(tiles) == 1
    with pytest.raises(DataError, match=r'a\.png'):
        tiles[0]


def test_all_formats_have_the_same_tiles(tmp_path):
    init_default_scope('mmdet')
    found = {}
    for name in written.FORMATS:
        root = getattr(written, name)(tmp_path / name)
        ann_file = 'train/annotations.json' if name == 'coco' else str(formats.find(str(root), name)['train'])
        source = formats.source_of(ann_file)
        tiles = DATASETS.build(dict(
            type='mmvision_mamba.datasets.coco_dataset.MendedCocoDataset', data_root=str(root), ann_file=ann_file,
            data_prefix=dict(img=source.folder if source else 'train'), metainfo=dict(classes=written.NAMES), tile=32,
            empty_tiles=0.5, pipeline=[], _scope_='mmdet'))
        found[name] = {}
        for info in map(tiles.get_data_info, range(len(tiles))):
            place = info['img_path'].rpartition('/')[2], *info['tile']
            found[name][place] = sorted((one['bbox_label'], one['ignore_flag'], *map(round, one['bbox']))
                                        for one in info['instances'])
    for name in written.FORMATS[1:]:
        assert found[name] == found['coco'], name
    assert len(found['coco']) > 10


# Images that an EXIF header turns -----------------------------------------------------------------------------------

TURNS = {2: lambda stored: stored[:, ::-1], 3: lambda stored: stored[::-1, ::-1], 4: lambda stored: stored[::-1],
         5: lambda stored: stored.swapaxes(0, 1), 6: lambda stored: np.rot90(stored, -1),
         7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1), 8: np.rot90}  # by EXIF's Orientation: as it is shown


def turned_pair(root, orientation, upright=True):
    """A photo with this orientation, a PNG of its pixels turned by NumPy, and annotations for each of them.

    Annotated is the upright picture, or the one that is stored, as by programs that heed no EXIF.
    """
    (root / 'images').mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()[..., ::-1]).save(root / 'images/a.jpg', exif=exif, quality=95)
    stored = cv2.imread(str(root / 'images/a.jpg'), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert stored.shape[:2] == (HEIGHT, WIDTH)
    shown = TURNS[orientation](stored) if upright else stored
    write(root / 'images/a.png', shown)
    height, width = shown.shape[:2]
    rng = np.random.default_rng(orientation)
    annotations = []
    for i in range(8):
        outline = (rng.random((5, 2)) * (width, height)).round(1)
        low, high = outline.min(0), outline.max(0)
        annotations.append(dict(id=i + 1, image_id=1, category_id=i % 2 + 1, iscrowd=0, area=1,
                                bbox=[*low, *(high - low)], segmentation=[outline.ravel().tolist()]))
    for suffix in ('jpg', 'png'):
        (root / f'{suffix}.json').write_text(json.dumps(dict(
            images=[dict(id=1, file_name=f'a.{suffix}', width=width, height=height)], annotations=annotations,
            categories=[dict(id=i, name=name) for i, name in ((1, 'a'), (2, 'b'))])))


@pytest.mark.parametrize('tile', [None, 40])
@pytest.mark.parametrize(('orientation', 'upright'), [*((turn, True) for turn in TURNS), (6, False), (5, False)])
@pytest.mark.parametrize('drawn', [False, True])
def test_what_a_turned_photo_shows_is_where_its_annotations_are(drawn, orientation, upright, tile, tmp_path):
    turned_pair(tmp_path, orientation, upright)
    found = {}
    for suffix in ('jpg', 'png'):
        init_default_scope('mmseg' if drawn else 'mmdet')
        load = dict(type='mmvision_mamba.datasets.loading.CheckedLoadImageFromFile')
        settings = dict(data_root=str(tmp_path), ann_file=f'{suffix}.json', tile=tile, empty_tiles=1)
        found[suffix] = DATASETS.build(dict(
            type='mmvision_mamba.datasets.drawn_maps.DrawnMapDataset', metainfo=dict(classes=('background', 'a', 'b')),
            data_prefix=dict(img_path='images', seg_map_path=''), _scope_='mmseg', pipeline=[
                load, dict(type='mmvision_mamba.datasets.map_loading.LoadAnnotations'), dict(type='PackSegInputs')],
            **settings) if drawn else dict(
            type='mmvision_mamba.datasets.coco_dataset.MendedCocoDataset', metainfo=dict(classes=('a', 'b')),
            data_prefix=dict(img='images'), _scope_='mmdet', pipeline=[
                load, dict(type='LoadAnnotations', with_bbox=True, with_mask=True), dict(type='PackDetInputs')],
            **settings))
    assert len(found['jpg']) == len(found['png']) >= (4 if tile else 1)
    for one, expected in zip(found['jpg'], found['png'], strict=True):
        assert torch.equal(one['inputs'], expected['inputs'])
        one, expected = one['data_samples'], expected['data_samples']
        assert one.get('tile_offset') == expected.get('tile_offset')
        if drawn:
            assert torch.equal(one.gt_sem_seg.data, expected.gt_sem_seg.data)
        else:
            assert torch.equal(one.gt_instances.bboxes.tensor, expected.gt_instances.bboxes.tensor)
            assert np.array_equal(one.gt_instances.masks.masks, expected.gt_instances.masks.masks)
            assert torch.equal(one.gt_instances.labels, expected.gt_instances.labels)
