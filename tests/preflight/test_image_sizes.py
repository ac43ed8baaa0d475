"""Images of another size than their annotation file says are named when a training starts."""
import pytest
from PIL import Image

from mmvision_mamba.datasets.loading import CheckedLoadImageFromFile
from mmvision_mamba.inference.images import read_image
from mmvision_mamba.preflight import image_sizes
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.runtime import standalone

from ..helpers.image_bytes import encoded, turned
from ..helpers.tiny_datasets import change_json, coco_dataset, picture, write

pytest.importorskip('mmdet')


@pytest.mark.parametrize(('size', 'wrong'), [((40, 36), False), ((36, 40), True), ((80, 72), True), ((40, 37), True)])
def test_images_made_smaller_after_they_were_annotated(size, wrong, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(image_sizes, 'warn_once', found.append)
    cfg = coco_dataset(tmp_path)
    for i in range(3):
        write(tmp_path / f'mine/train/{i}.jpg', picture('JPEG', size))
    change_json(cfg, 'train', lambda c: c['annotations'].pop(1))  # where nothing is annotated the size is no matter
    check_datasets(cfg, ('train', 'val'))
    assert len(found) == wrong
    assert not wrong or f'train.json: 2 of 3 images looked at have another size than it says, the first: 0.jpg is ' \
        f'{size[0]} × {size[1]}, not 40 × 36' in found[0]


def test_a_picture_that_its_header_turns_may_be_annotated_either_way(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(image_sizes, 'warn_once', found.append)
    cfg = coco_dataset(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    for i, size in enumerate([(40, 36), (36, 40)]):
        Image.new('RGB', size).save(tmp_path / f'mine/train/{i}.jpg', exif=exif)
    check_datasets(cfg, ('train', 'val'))
    assert not found


PICTURE = Image.new('RGB', (40, 20), (255, 0, 0))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
TURNED = {
    'exif.jpg': dict(exif=turned()), 'exif of big numbers.jpg': dict(exif=turned(head=b'MM\0*')),
    'xmp.jpg': dict(xmp=XMP), 'a wrong head.jpg': dict(exif=turned(head=b'II\0*')),
    'another wrong head.jpg': dict(exif=turned(head=b'MM*\0')), 'upright.jpg': dict(exif=turned(3)),
    'a long comment.jpg': dict(exif=turned(), comment=b'a' * 60_000), 'exif.png': dict(exif=turned()[6:]),
    'exif.webp': dict(exif=turned()), 'exif.tif': dict(tiffinfo={274: 6}), 'exif.avif': dict(exif=turned())}


@pytest.mark.parametrize('backend', [None, 'cv2', 'pillow'])
@pytest.mark.parametrize('color_type', ['color', 'grayscale', 'color_ignore_orientation', 'unchanged'])
def test_the_size_is_that_which_the_pipelines_decoder_gives(backend, color_type, tmp_path):
    loader = CheckedLoadImageFromFile(imdecode_backend=backend, color_type=color_type)
    for name, options in TURNED.items():
        file_format = {'jpg': 'JPEG', 'tif': 'TIFF'}.get(name[-3:], name.partition('.')[2].upper())
        if file_format not in Image.SAVE and file_format == 'AVIF':
            continue
        path = tmp_path / name
        path.write_bytes(encoded(PICTURE, file_format, **options))
        image = loader.transform(dict(img_path=str(path)))['img']
        said = image_sizes.loaded_size(image_sizes.sizes_of(str(path), loader), loader)
        assert said == image.shape[1::-1], (name, 'checked', said)


@pytest.mark.skipif('AVIF' not in Image.SAVE, reason='Pillow was built without AVIF')
def test_an_avif_picture_is_turned_by_its_own_properties_alone(tmp_path):
    """Its EXIF orientation says what these have done already, by the standard of HEIF."""
    path = tmp_path / 'photo.avif'
    turned_by_irot = encoded(PICTURE, 'AVIF', exif=turned())
    assert b'irot' in turned_by_irot
    tag, other = b'\x12\x01\x03\0\x01\0\0\0\6', b'\x13\x01\x03\0\x01\0\0\0\6'  # which Pillow leaves as it is
    by_exif = encoded(PICTURE, 'AVIF', exif=turned().replace(tag, other)).replace(other, tag)
    assert tag in by_exif and b'irot' not in by_exif
    for content, size in ((turned_by_irot, (40, 20)), (by_exif, (20, 40))):
        path.write_bytes(content)
        assert read_image(path).shape[:2] == standalone.read_image(path).shape[:2] == size
        for backend in (None, 'pillow'):
            loader = CheckedLoadImageFromFile(imdecode_backend=backend)
            assert loader.transform(dict(img_path=str(path)))['img_shape'] == size
            assert image_sizes.loaded_size(image_sizes.sizes_of(str(path), loader), loader) == size[::-1]
