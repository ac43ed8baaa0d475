import io
import pickle

import mmcv.transforms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine import Config
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import ExifTags, Image

from mmvision_mamba.datasets.loading import (
    CheckedAnnotations,
    CheckedLoadImageFromFile,
    image_problem,
    use_checked_loading,
)
from mmvision_mamba.errors import DataError

HEIGHT, WIDTH = 45, 64


def pixels() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    return (np.stack([3 * x, 4 * y, 2 * (x + y)], -1) + noise).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def exif(image: Image.Image) -> bytes:
    """An EXIF block with a rotation and an embedded JPEG thumbnail, laid out by hand: Pillow writes no thumbnails."""
    thumbnail = encoded(image.resize((16, 12)), 'JPEG')

    def entry(tag, kind, value):
        raw = value.to_bytes(2, 'little') + b'\0\0' if kind == 3 else value.to_bytes(4, 'little')
        return tag.to_bytes(2, 'little') + kind.to_bytes(2, 'little') + (1).to_bytes(4, 'little') + raw

    first = (1).to_bytes(2, 'little') + entry(0x0112, 3, 6) + (26).to_bytes(4, 'little')  # at 8, 18 bytes long
    at = 26 + 2 + 2 * 12 + 4
    second = (2).to_bytes(2, 'little') + entry(0x0201, 4, at) + entry(0x0202, 4, len(thumbnail)) + bytes(4)
    return b'Exif\0\0II*\0\x08\0\0\0' + first + second + thumbnail


RGB = Image.fromarray(pixels())
GREY = RGB.convert('L')
GOOD = {
    'jpeg': encoded(RGB, 'JPEG'),
    'jpeg progressive': encoded(RGB, 'JPEG', progressive=True),
    'jpeg grey': encoded(GREY, 'JPEG'),
    'jpeg cmyk': encoded(RGB.convert('CMYK'), 'JPEG'),
    'jpeg exif thumbnail': encoded(RGB, 'JPEG', exif=exif(RGB)),
    'png': encoded(RGB, 'PNG'),
    'png grey': encoded(GREY, 'PNG'),
    'png palette': encoded(RGB.quantize(16), 'PNG'),
    'png alpha': encoded(RGB.convert('RGBA'), 'PNG'),
    'png 16 bit': encoded(Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)), 'PNG'),
    'png 1 bit': encoded(GREY.convert('1'), 'PNG'),
    'png 1 x 1': encoded(RGB.resize((1, 1)), 'PNG'),
    'bmp': encoded(RGB, 'BMP'),
    'gif animated': encoded(RGB.quantize(16), 'GIF', save_all=True, append_images=[GREY.quantize(8)]),
    'webp': encoded(RGB, 'WEBP'),
    'tiff': encoded(RGB, 'TIFF', compression='tiff_lzw'),
    'ppm': encoded(RGB, 'PPM'),
}
for _name in ('jpeg', 'jpeg progressive', 'png'):
    GOOD[f'{_name}, trailing garbage'] = GOOD[_name] + b'garbage'
    GOOD[f'{_name}, trailing zeros'] = GOOD[_name] + bytes(99)


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


@pytest.mark.parametrize('name', GOOD)
def test_good_files_have_no_problem(tmp_path, name):
    path = tmp_path / 'image'
    path.write_bytes(GOOD[name])
    for quick in (True, False):
        assert image_problem(GOOD[name], quick) is None
        assert image_problem(path, quick) is None
        assert image_problem(str(path), quick) is None


def test_exif_thumbnail_is_one_that_pillow_sees():
    with Image.open(io.BytesIO(GOOD['jpeg exif thumbnail'])) as image:
        assert image.getexif()[0x0112] == 6
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0201]


# The last bytes of a JPEG are its end marker and padding: without them a baseline JPEG still has all its pixels.
@pytest.mark.parametrize('name', ['jpeg', 'jpeg progressive', 'jpeg cmyk', 'jpeg exif thumbnail', 'png', 'png palette',
                                  'bmp', 'webp', 'ppm'])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_truncated_anywhere(name, data):
    content = GOOD[name]
    cut = content[:data.draw(st.integers(1, len(content) - 4))]
    problem = image_problem(cut)
    assert problem
    assert image_problem(cut, quick=False)
    if name.startswith(('jpeg', 'png')) and len(cut) > 8:
        assert problem == 'the image is truncated' or 'damaged' in problem


def test_truncated_right_after_the_thumbnail():
    content = GOOD['jpeg exif thumbnail']
    end = content.index(b'\xff\xd9') + 2
    assert end < len(content) - 2
    for padding in (b'', bytes(4096)):
        assert image_problem(content[:end] + padding) == 'the image is truncated'


def test_truncated_and_padded_with_zeros():
    """What a full disk or a broken download leaves: a file of the right length."""
    for name in ('jpeg', 'jpeg progressive', 'png'):
        content = GOOD[name]
        for part in (0.3, 0.6, 0.9):
            kept = int(part * len(content))
            assert image_problem(content[:kept] + bytes(len(content) - kept)), (name, part)


@pytest.mark.parametrize('content, problem', [
    (b'', 'the file is empty'),
    (bytes(5000), 'it is not an image'),
    (b'<html><body>404</body></html>', 'it is not an image'),
    (b'\xff\xd8\xff', 'the image is truncated'),
    (b'\x89PNG\r\n\x1a\n', 'the image is truncated'),
])
def test_no_image_at_all(tmp_path, content, problem):
    path = tmp_path / 'image.jpg'
    path.write_bytes(content)
    assert image_problem(path) == image_problem(content) == image_problem(content, quick=False) == problem


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1), st.sampled_from([b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'GIF89a', b'RIFF']))
def test_any_bytes_get_an_answer(content, start):
    assert image_problem(start + content)


def test_missing_and_unreadable_files(tmp_path):
    assert image_problem(tmp_path / 'none.jpg') == 'the file is missing'
    assert image_problem(tmp_path).startswith('the file cannot be read')
    with pytest.raises(DataError, match='cannot be read'):
        load(CheckedLoadImageFromFile, tmp_path)


def test_png_damaged_inside_is_found_by_decoding():
    """A wrong checksum: no cheap look can see it, and every decoder that minds is right."""
    content = bytearray(GOOD['png'])
    content[len(content) // 2] ^= 0x55
    assert image_problem(bytes(content), quick=False) == 'the image is damaged'


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
def scope(request, monkeypatch):
    """A toolbox with checked loading switched on; its registry is as before at the end."""
    pytest.importorskip(request.param)
    with TRANSFORMS.switch_scope_and_registry(request.param) as registry:
        registry.get('LoadAnnotations')  # imports the toolbox's own transforms
        monkeypatch.setattr(registry, '_module_dict', dict(registry._module_dict))
        with DefaultScope.overwrite_default_scope(request.param):
            yield request.param


def test_use_checked_loading(scope, tmp_path):
    cfg = Config({'default_scope': scope, 'pipeline': [{'type': 'LoadImageFromFile'}]})
    before = cfg.pretty_text
    original = TRANSFORMS.build({'type': 'LoadAnnotations', 'with_seg': True} if scope == 'mmdet'
                                else {'type': 'LoadAnnotations'})
    use_checked_loading(cfg)
    use_checked_loading(cfg)  # again is the same as once
    assert cfg.pretty_text == before

    loader = TRANSFORMS.build({'type': 'LoadImageFromFile', 'color_type': 'grayscale'})
    assert type(loader) is CheckedLoadImageFromFile and loader.color_type == 'grayscale'

    options = {'with_bbox': False, 'with_label': False, 'with_seg': True} if scope == 'mmdet' else {}
    annotations = TRANSFORMS.build({'type': 'LoadAnnotations', **options})
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
    use_checked_loading(Config({'default_scope': scope}))
    annotations = TRANSFORMS.build({'type': 'LoadAnnotations', 'with_bbox': True} if scope == 'mmdet'
                                   else {'type': 'LoadAnnotations'})
    with pytest.raises(KeyError):
        annotations({'instances': [{}]})


def test_a_loader_of_ones_own_keeps_its_name(scope):
    class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
        pass

    with TRANSFORMS.switch_scope_and_registry(scope) as registry:
        registry.register_module(module=LoadImageFromFile, force=True)
        use_checked_loading(Config({'default_scope': scope}))
        assert registry.get('LoadImageFromFile') is LoadImageFromFile
