import pickle
from types import SimpleNamespace

import mmcv.transforms
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from mmvision_mamba.datasets.loading import (
    CheckedAnnotations,
    CheckedLoadImageFromFile,
    CheckedResize,
    use_checked_loading,
)
from mmvision_mamba.datasets.mask_values import mask_values
from mmvision_mamba.errors import DataError

from ..helpers.image_bytes import GOOD, HEIGHT, WIDTH, encoded


def load(loader: type, path, **options) -> dict:
    return loader(**options).transform({'img_path': str(path)})


@pytest.mark.parametrize('name', GOOD)
@pytest.mark.parametrize('options', [{}, {'color_type': 'grayscale'}, {'color_type': 'unchanged', 'to_float32': True},
                                     {'imdecode_backend': 'pillow'}], ids=str)
def test_good_files_have_the_pixels_of_mmcv(tmp_path, name, options):
    path = tmp_path / 'image.jpg'  # whatever the format: the content counts, not the name
    path.write_bytes(GOOD[name])
    found, expected = load(CheckedLoadImageFromFile, path, **options), load(mmcv.transforms.LoadImageFromFile, path,
                                                                           **options)
    assert found.keys() == expected.keys()
    assert found['img'].dtype == expected['img'].dtype
    assert np.array_equal(found['img'], expected['img'])
    assert found['img_shape'] == expected['img_shape'] and found['ori_shape'] == expected['ori_shape']


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match='cannot be read'):
        load(CheckedLoadImageFromFile, tmp_path)


@pytest.mark.parametrize('content', [None, b'', b'nonsense', GOOD['jpeg'][:700], GOOD['png'][:-20]],
                         ids=['missing', 'empty', 'nonsense', 'jpeg', 'png'])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_loader_names_the_file(tmp_path, content, backend):
    path = tmp_path / 'broken.jpg'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load(CheckedLoadImageFromFile, path, imdecode_backend=backend)
    message = str(error.value)
    assert message.startswith(f'{path}: the ') or message.startswith(f'{path}: it is not an image')
    assert '--skip-bad-images' in message and '\n' not in message and 'DataError' not in message
    assert load(CheckedLoadImageFromFile, path, imdecode_backend=backend, ignore_empty=True) is None


def test_loader_names_a_file_that_only_decoding_finds_broken(tmp_path):
    path = tmp_path / 'damaged.png'
    content = bytearray(GOOD['png'])
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'damaged\.png: the image is damaged'):
        load(CheckedLoadImageFromFile, path)


@pytest.mark.parametrize('name', ['jpeg', 'jpeg progressive', 'jpeg exif thumbnail'])
def test_truncated_jpeg_is_refused_where_opencv_fills_it_with_grey(tmp_path, monkeypatch, name):
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *args, **kwargs: np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    path = tmp_path / 'cut.jpg'
    path.write_bytes(GOOD[name])
    assert load(CheckedLoadImageFromFile, path)['img'].shape == (HEIGHT, WIDTH, 3)
    path.write_bytes(GOOD[name][:-100])
    with pytest.raises(DataError, match='truncated'):
        load(CheckedLoadImageFromFile, path)


def test_label_maps_whose_header_says_their_largest_label(scope, tmp_path):
    """Labels are values, not brightness: OpenCV leaves them as stored, Pillow and its readers are not asked."""
    labels, path = np.arange(12, dtype=np.uint8).reshape(3, 4), tmp_path / 'map.pgm'
    options = {'with_bbox': False, 'with_label': False, 'with_seg': True} if scope == 'mmdet' else {}
    stored, plain = b'P5 4 3 11\n' + labels.tobytes(), b'P2 4 3 11\n' + ' '.join(map(str, range(12))).encode() + b'\n'
    for backend, content, works in (('cv2', stored, True), ('pillow', stored, False), ('cv2', plain, False),
                                    ('pillow', encoded(Image.fromarray(labels), 'PPM'), True)):
        path.write_bytes(content)
        annotations, = checked({'type': 'LoadAnnotations', 'imdecode_backend': backend, **options})
        sample = {'seg_map_path': str(path), 'reduce_zero_label': False, 'seg_fields': [], 'label_map': None}
        if works:
            assert np.array_equal(annotations(sample)['gt_seg_map'], labels)
        else:
            with pytest.raises(DataError, match=r'map\.pgm: its labels are multiplied .* as a PNG'):
                annotations(sample)
    path.write_bytes(stored)
    assert 'multiplied' in mask_values([str(path)]).broken[str(path)]


def test_wrong_arguments_are_not_blamed_on_the_file(tmp_path):
    path = tmp_path / 'good.jpg'
    path.write_bytes(GOOD['jpeg'])
    with pytest.raises(KeyError, match='colour'):
        load(CheckedLoadImageFromFile, path, color_type='colour')


def test_good_files_are_decoded_once(tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError('a good file was decoded by Pillow too')

    monkeypatch.setattr(Image, 'open', forbidden)
    for name in ('jpeg', 'jpeg progressive', 'jpeg exif thumbnail', 'png', 'png 16 bit', 'jpeg, trailing zeros'):
        path = tmp_path / 'image'
        path.write_bytes(GOOD[name])
        load(CheckedLoadImageFromFile, path)


@pytest.fixture(params=['mmdet', 'mmseg'])
def scope(request):
    pytest.importorskip(request.param)
    with DefaultScope.overwrite_default_scope(request.param):
        TRANSFORMS.build({'type': f'{request.param}.LoadAnnotations'})  # imports the toolbox's own transforms
        yield request.param


def checked(*steps, labels=None, **dataset):
    """The transforms of a built data set, such as a toolbox's, once its loading is checked."""
    built = SimpleNamespace(pipeline=Compose(list(steps)), **dataset)
    use_checked_loading(built, labels)
    use_checked_loading(built, labels)  # again is the same as once
    return built.pipeline.transforms


def test_use_checked_loading(scope, tmp_path):
    options = {'with_bbox': False, 'with_label': False, 'with_seg': True} if scope == 'mmdet' else {}
    steps = [{'type': 'LoadImageFromFile', 'color_type': 'grayscale'}, {'type': 'LoadAnnotations', **options}]
    original = TRANSFORMS.build(steps[1])
    loader, annotations = checked(*steps)
    assert type(loader) is CheckedLoadImageFromFile and loader.color_type == 'grayscale'
    assert type(annotations) is CheckedAnnotations and type(annotations.loader) is type(original)
    annotations = pickle.loads(pickle.dumps(annotations))  # as for workers that are spawned

    path = tmp_path / 'map.png'
    labels = (np.arange(HEIGHT * WIDTH) % 5).astype(np.uint8).reshape(HEIGHT, WIDTH)
    content = encoded(Image.fromarray(labels), 'PNG')

    def sample():
        return {'seg_map_path': str(path), 'reduce_zero_label': False, 'seg_fields': [], 'label_map': None}

    path.write_bytes(content)
    assert np.array_equal(annotations(sample())['gt_seg_map'], labels)
    for broken in (content[:-30], content[:60], b'', b'nonsense'):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r'map\.png: .*--skip-bad-images'):
            annotations(sample())
    path.unlink()
    with pytest.raises(DataError, match=r'map\.png: the file is missing'):
        annotations(sample())


def test_other_errors_of_annotation_loaders_stay(scope):
    annotations, = checked({'type': 'LoadAnnotations', 'with_bbox': True} if scope == 'mmdet'
                           else {'type': 'LoadAnnotations'})
    with pytest.raises(KeyError):
        annotations({'instances': [{}]})


def test_a_loader_of_ones_own_reads_as_it_likes(scope):
    class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
        pass

    loader, = checked(LoadImageFromFile())
    assert type(loader) is LoadImageFromFile


def test_transforms_inside_others_and_data_sets_inside_others_are_checked(scope):
    resize = {'type': 'RandomChoiceResize', 'scales': [(40, 30), (20, 10)], 'keep_ratio': False}
    choice = {'type': 'RandomChoice', 'transforms': [[{'type': 'LoadImageFromFile'}], [{'type': 'LoadAnnotations'}]]}
    inner = SimpleNamespace(pipeline=Compose([resize, choice]))
    checked(dataset=SimpleNamespace(datasets=[inner]), labels=range(3))
    (resize, choice) = inner.pipeline.transforms
    assert type(resize.resize) is CheckedResize
    image, annotations = (compose.transforms[0] for compose in choice.transforms)
    assert type(image) is CheckedLoadImageFromFile
    assert type(annotations) is CheckedAnnotations and annotations.labels == range(3)
    result = resize({'img': np.zeros((60, 80, 3), np.uint8)})  # which sets the scale of the resize inside
    assert result['img'].shape[:2] in ((30, 40), (10, 20))


def test_an_image_of_which_nothing_is_left_is_named(scope):
    resize, = checked({'type': 'Resize', 'scale': (10, 10), 'keep_ratio': True})
    resize = pickle.loads(pickle.dumps(resize))
    with pytest.raises(DataError, match=r'thin\.png: nothing is left of 2000 × 1 pixels'):
        resize({'img': np.zeros((1, 2000, 3), np.uint8), 'img_path': 'thin.png'})
