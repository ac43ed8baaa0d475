"""The Inferencer on pictures by tiles, against its own results on whole ones."""
import json
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from pycocotools import mask as coco_mask

from mmvision_mamba import Inferencer
from mmvision_mamba.datasets.georeference import KEYS, SCALE, TIEPOINTS, Georeference
from mmvision_mamba.datasets.tile_grid import Grid, Tiling
from mmvision_mamba.errors import ConfigError, DataError, MissingExtraError

tifffile = pytest.importorskip('tifffile')
PLACE = Georeference({SCALE: (0.5, 0.5, 0.), TIEPOINTS: (0., 0., 0., 1000., 2000., 0.),
                      KEYS: (1, 1, 0, 2, 1025, 0, 1, 1, 3072, 0, 1, 32633)})


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    """A PNG of 200 × 150 pixels, and a tiled GeoTIFF with the same."""
    path = tmp_path_factory.mktemp('pictures') / 'a.png'
    noise = np.random.default_rng(0).integers(0, 255, (15, 20, 3), dtype=np.uint8)
    image = cv2.resize(noise, (200, 150), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), image)
    tifffile.imwrite(path.with_suffix('.tif'), image[..., ::-1], photometric='rgb', tile=(64, 64), compression='zlib',
                     extratags=PLACE.extra_tags())
    return path


# Segmentors ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def plain(model_files):
    """The segmentor on images as they are, none resized."""
    cfg = Config.fromfile(model_files.segmentor.config)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step.type != 'Resize']
    return Inferencer(cfg, model_files.segmentor.checkpoint, device='cpu', show_progress=False)


@pytest.fixture
def local(plain, monkeypatch):
    """That segmentor with logits that depend on a pixel's neighbours alone, 2 pixels far."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Tanh(),
                                 torch.nn.Conv2d(8, 4, 3, padding=1))
    monkeypatch.setattr(plain.model, 'encode_decode', lambda inputs, metas: layers(inputs))
    return plain


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('kind', ['segmentor', 'detector'])
def test_a_picture_that_fits_has_the_results_of_ordinary_inference(kind, suffix, picture, request):
    model = request.getfixturevalue(kind)
    whole, tiled = (model(picture.with_suffix(suffix), **options)['predictions'][0]
                    for options in ({}, dict(tile=200, overlap=0.5)))
    assert whole.keys() == tiled.keys()
    for key in whole:
        assert np.array_equal(whole[key], tiled[key]) if key == 'sem_seg' else whole[key] == tiled[key]


@pytest.mark.parametrize(('tile', 'overlap', 'batch'), [(64, 0.2, 1), (64, 0.5, 3), (50, 0, 2), (160, 0.2, 1)])
def test_a_local_model_sees_the_same_by_tiles_away_from_their_borders(local, picture, tile, overlap, batch):
    whole = local(picture)['predictions'][0]['sem_seg']
    tiled = local(picture, batch, tile=tile, overlap=overlap)['predictions'][0]['sem_seg']
    assert tiled.shape == whole.shape and len(np.unique(whole)) == 4
    away = np.ones(whole.shape, bool)
    grid = Grid.of(Tiling(tile, overlap), *whole.shape)
    for axis, marked in ((grid.rows, away), (grid.columns, away.T)):
        for start in axis.starts:
            for border in {start, start + axis.side} - {0, len(marked)}:
                marked[max(border - 2, 0):border + 2] = False
    assert away.mean() > 0.5 and np.array_equal(tiled[away], whole[away])
    assert (tiled == whole).mean() > 0.95


def test_blended_logits_are_those_of_the_whole_picture(plain, picture, monkeypatch):
    """Windows that agree, as those of a model of single pixels, give what that has for the whole, borders included."""
    monkeypatch.setattr(plain.model, 'encode_decode', lambda inputs, metas: torch.cat([inputs, -inputs[:, :1]], 1))
    whole, tiled = (plain(picture, **options)['predictions'][0]['sem_seg'] for options in (
        {}, dict(tile=64, overlap=0.3)))
    assert np.array_equal(whole, tiled)


def test_one_channel_is_compared_with_the_threshold(plain, picture, monkeypatch):
    monkeypatch.setattr(plain.model, 'encode_decode', lambda inputs, metas: inputs[:, :1])
    monkeypatch.setattr(plain.model.decode_head, 'threshold', 0.6, raising=False)
    whole, tiled = (plain(picture, **options)['predictions'][0]['sem_seg'] for options in ({}, dict(tile=64)))
    assert np.array_equal(whole, tiled) and set(np.unique(whole)) == {0, 1}


def test_classes_that_are_not_kept_are_255(local, picture, monkeypatch):
    monkeypatch.setattr(local, 'kept', [1, 2])
    assert set(np.unique(local(picture, tile=64)['predictions'][0]['sem_seg'])) == {1, 2, 255}


def test_a_georeferenced_picture_has_a_georeferenced_map(local, picture, tmp_path):
    result = local([picture, picture.with_suffix('.tif')], out_dir=tmp_path, tile=64)
    assert not result['failures']
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*') if path.is_file())
    assert files == ['preds/a_png.png', 'preds/a_tif.tif', 'vis/a_png.png', 'vis/a_tif.tif']
    labels = result['predictions'][0]['sem_seg']
    assert np.array_equal(result['predictions'][1]['sem_seg'], labels)
    assert np.array_equal(Image.open(tmp_path / 'preds/a_png.png'), labels)
    with tifffile.TiffFile(tmp_path / 'preds/a_tif.tif') as file:
        page = file.pages[0]
        assert np.array_equal(page.asarray(), labels) and page.is_tiled and page.compression != 1
        assert {code: page.tags[code].value for code in PLACE.tags} == PLACE.tags
        assert [tuple(colour >> 8) for colour in page.colormap.T[:4]] == list(map(tuple, local.palette))
    assert cv2.imread(str(tmp_path / 'vis/a_tif.tif')).shape == (38 * 7, 50 * 7, 3)  # a quarter, and enlarged to 320


# Detectors ----------------------------------------------------------------------------------------------------------

DISCS = [(0, (30, 40), 12), (1, (100, 75), 45), (0, (150, 30), 8), (2, (196, 146), 30), (1, (25, 120), 9)]


def discs() -> np.ndarray:
    """A picture whose red channel tells the discs apart: 50 × (number + 1); green is 255 in all of them."""
    image = np.zeros((150, 200, 3), np.uint8)
    for number, (_, centre, radius) in enumerate(DISCS):
        cv2.circle(image, centre, radius, (0, 255, 50 * (number + 1)), -1)
    return image


@pytest.fixture
def finder(detector, monkeypatch):
    """finder(masks) makes the detector find just these discs, as far as they lie in its image, 12 pixels or more."""
    def use(masks: bool):
        def predict(images, batch_size=1):
            return [found(image) for image in (images if isinstance(images, list) else [images])]

        def found(image):
            parts = [(np.abs(image[..., 2].astype(int) - 50 * (i + 1)) < 8) & (image[..., 1] > 250)
                     for i in range(len(DISCS))]
            seen = [(i, part) for i, part in enumerate(parts) if part.sum() >= 12]
            boxes = [cv2.boundingRect(part.astype(np.uint8)) for _, part in seen]
            from mmdet.structures import DetDataSample
            instances = InstanceData(
                bboxes=torch.tensor([(x, y, x + w, y + h) for x, y, w, h in boxes], dtype=torch.float).reshape(-1, 4),
                labels=torch.tensor([DISCS[i][0] for i, _ in seen], dtype=torch.long),
                scores=torch.tensor([0.9 - i / 10 for i, _ in seen]))
            if masks:
                instances.masks = torch.from_numpy(np.array([part for _, part in seen]).reshape(-1, *image.shape[:2]))
            return DetDataSample(pred_instances=instances)
        monkeypatch.setattr(detector, 'predict', predict)
        return detector
    return use


@pytest.mark.parametrize('masks', [True, False])
@pytest.mark.parametrize(('tile', 'overlap'), [(64, 0.2), (50, 0.5), (96, 0.25)])
def test_objects_over_borders_are_one_instance_each(finder, tile, overlap, masks, tmp_path):
    image = discs()
    cv2.imwrite(str(tmp_path / 'discs.png'), image)
    found = finder(masks)(tmp_path / 'discs.png', tile=tile, overlap=overlap)['predictions'][0]
    assert found['labels'] == [label for label, *_ in DISCS]
    assert found['scores'] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    for i, box in enumerate(found['bboxes']):
        truth = image[..., 2] == 50 * (i + 1)
        x, y, width, height = cv2.boundingRect(truth.astype(np.uint8))
        assert box == pytest.approx([x, y, x + width, y + height], abs=2)
        if masks:
            pixels = coco_mask.decode(found['masks'][i]).astype(bool)
            assert pixels.shape == truth.shape and (pixels & truth).sum() / (pixels | truth).sum() > 0.97


def test_a_georeferenced_picture_has_polygons_on_the_ground(finder, tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', discs()[..., ::-1], photometric='rgb', extratags=PLACE.extra_tags())
    model = finder(True)
    result = model(tmp_path / 'a.tif', out_dir=tmp_path / 'out', tile=64)['predictions'][0]
    found = json.loads((tmp_path / 'out/preds/a.geojson').read_text())
    assert found['crs']['properties']['name'] == 'urn:ogc:def:crs:EPSG::32633'
    assert [f['properties']['category'] for f in found['features']] == [
        model.classes[label] for label in result['labels']]
    for feature, mask, (x1, y1, x2, y2) in zip(found['features'], result['masks'], result['bboxes']):
        ring = np.array(feature['geometry']['coordinates'][0])
        assert ring.min(0) == pytest.approx([1000 + x1 / 2, 2000 - y2 / 2], abs=1)
        assert ring.max(0) == pytest.approx([1000 + x2 / 2, 2000 - y1 / 2], abs=1)
        x, y = ring.T
        area = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2  # counterclockwise
        assert area == pytest.approx(coco_mask.area(mask) / 4)
    results = json.loads((tmp_path / 'out/preds/results.json').read_text())
    assert [r['segmentation'] for r in results] == result['masks']
    assert {'preds/boxes.json', 'preds/images.json', 'vis/a.tif'} <= {
        str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*')}


def test_without_a_reference_system_polygons_are_in_pixels_and_a_warning_names_the_file(finder, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmvision_mamba.inference.tiled.run.warn_once', said.append)
    place = Georeference({code: value for code, value in PLACE.tags.items() if code != KEYS})
    tifffile.imwrite(tmp_path / 'a.tif', discs()[..., ::-1], photometric='rgb', extratags=place.extra_tags())
    found = finder(True)(tmp_path / 'a.tif', out_dir=tmp_path / 'out', tile=64)['predictions'][0]
    content = json.loads((tmp_path / 'out/preds/a.geojson').read_text())
    assert 'crs' not in content
    x1, y1, *_ = found['bboxes'][0]
    assert np.min(content['features'][0]['geometry']['coordinates'][0], 0).tolist() == [x1, y1]
    assert len(said) == 1 and 'a.tif: its GeoTIFF tags name no coordinate reference system' in said[0]


# What is refused ----------------------------------------------------------------------------------------------------

def test_wrong_settings_are_told(segmentor, picture):
    with pytest.raises(ConfigError, match='32 or more'):
        segmentor(picture, tile=31)
    with pytest.raises(ConfigError, match=r'0 to 0\.5'):
        segmentor(picture, tile=64, overlap=0.6)
    with pytest.raises(ConfigError, match='overlap needs tile'):
        segmentor(picture, overlap=0.2)
    with pytest.raises(ConfigError, match='return_datasamples'):
        segmentor(picture, tile=64, return_datasamples=True)


def test_inputs_that_fail_are_recorded(local, picture, tmp_path):
    content = picture.with_suffix('.tif').read_bytes()
    (tmp_path / 'cut.tif').write_bytes(content[:len(content) // 2])
    tifffile.imwrite(tmp_path / 'floats.tif', np.zeros((90, 80, 3), np.float32), photometric='rgb')
    result = local([tmp_path / 'cut.tif', tmp_path / 'floats.tif', 0, picture], tile=64)
    assert len(result['predictions']) == 1
    assert [reason.partition(' (')[0] for _, reason in result['failures'][::2]] == [
        'the TIFF is damaged', 'videos and cameras are not read by tiles']
    assert 'floats of 32 bits' in result['failures'][1][1]


def test_a_tiff_without_tifffile_names_the_extra(local, picture, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(MissingExtraError, match='geo'):
        local(picture.with_suffix('.tif'), tile=64)
    assert local(picture, tile=64)['predictions']


def test_sixteen_bits_are_read_as_their_upper_eight(local, picture, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmvision_mamba.inference.tiled.pictures.warn_if_dark', lambda *args: said.append(args))
    image = cv2.imread(str(picture))
    tifffile.imwrite(tmp_path / 'a.tif', image[..., ::-1].astype(np.uint16) * 256 + 17, photometric='rgb',
                     tile=(32, 32))
    tifffile.imwrite(tmp_path / 'grey.tif', image[..., 0].astype(np.uint16) * 256, photometric='minisblack')
    for path, same in ((tmp_path / 'a.tif', image), (tmp_path / 'grey.tif', image[..., :1].repeat(3, 2))):
        found, expected = (local(given, tile=64)['predictions'][0]['sem_seg'] for given in (path, same))
        assert np.array_equal(found, expected)
    assert said[0] == (str(tmp_path / 'a.tif'), 17 + 256 * int(image.min()), 17 + 256 * int(image.max()))


# Stopped and resumed ------------------------------------------------------------------------------------------------

class Stopped(BaseException):
    pass


def stop_after(monkeypatch, model, windows):
    """Have a model end as a killed process does, after so many windows; returns the sizes of its batches."""
    predict, seen = model.predict, []

    def counted(images, batch_size=1):
        if len(seen) >= windows:
            raise Stopped
        seen.append(len(images) if isinstance(images, list) else 1)
        return predict(images, batch_size)
    monkeypatch.setattr(model, 'predict', counted)
    return seen


@pytest.mark.parametrize('kind', ['local', 'finder'])
def test_a_stopped_run_goes_on_with_the_next_strip(kind, picture, tmp_path, request, monkeypatch):
    model = request.getfixturevalue(kind)
    if kind == 'finder':
        model = model(True)
        cv2.imwrite(str(tmp_path / 'a.png'), discs())
        picture = tmp_path / 'a.png'
    options = dict(tile=64, overlap=0.25)
    expected = model(picture, **options)['predictions'][0]
    whole, tiled = tmp_path / 'whole', tmp_path / 'tiled'
    model(picture, out_dir=whole, **options)
    with monkeypatch.context() as context, pytest.raises(Stopped):
        stop_after(context, model, 6)
        model(picture, out_dir=tiled, **options)
    assert (tiled / 'unfinished').exists()
    with monkeypatch.context() as context:
        seen = stop_after(context, model, 99)
        found = model(picture, out_dir=tiled, **options)['predictions'][0]
    grid = Grid.of(Tiling(64, 0.25), 150, 200)
    assert len(grid.columns) == 4 and sum(seen) == len(grid) - 4 + (kind == 'finder')  # the reduced picture, too
    for key in expected:
        assert np.array_equal(found[key], expected[key])
    files = {path.relative_to(whole): path.read_bytes() for path in whole.rglob('*') if path.is_file()}
    assert files == {path.relative_to(tiled): path.read_bytes() for path in tiled.rglob('*') if path.is_file()}


@pytest.mark.parametrize('change', [
    (0, 99), (1, 'x'), (2, [1]), (4, [0, 0, 10**6, 10**6, '01']), (4, [0, 0, 9, 9, 'z']), (6, 0), None])
def test_instances_that_can_not_be_are_found_again(change, finder, tmp_path, monkeypatch):
    """A folder of unfinished results may be damaged, or come from elsewhere."""
    model = finder(True)
    cv2.imwrite(str(tmp_path / 'a.png'), discs())
    expected = model(tmp_path / 'a.png', tile=64)['predictions'][0]
    with monkeypatch.context() as context, pytest.raises(Stopped):
        stop_after(context, model, 6)
        model(tmp_path / 'a.png', out_dir=tmp_path / 'out', tile=64)
    path = next(path for path in sorted((tmp_path / 'out/unfinished').glob('*/instances-*.json'))
                if len(path.read_text()) > 9)
    content = json.loads(path.read_text())
    if change is None:
        content = [5]
    else:
        content[0][change[0]] = change[1]
    path.write_text(json.dumps(content))
    found = model(tmp_path / 'a.png', out_dir=tmp_path / 'out', tile=64)['predictions'][0]
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_pictures_that_were_finished_are_not_done_again(local, picture, tmp_path, monkeypatch):
    inputs = [picture, picture.with_suffix('.tif')]
    for _ in range(2):
        run = local.run(inputs, out_dir=tmp_path, tile=64)
        next(run)
        next(run)  # the second is not noted as finished
        run.close()
        seen = stop_after(monkeypatch, local, 99)
    first, second = local.run(inputs, out_dir=tmp_path, tile=64)
    assert not seen and first[1] is None and second[1] is not None
    assert np.array_equal(first[0].to_dict()['sem_seg'], local(picture, tile=64)['predictions'][0]['sem_seg'])
    assert not (tmp_path / 'unfinished').exists()


def test_other_settings_or_another_file_are_noticed(local, picture, tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(picture.read_bytes())
    with monkeypatch.context() as context, pytest.raises(Stopped):
        stop_after(context, local, 6)
        local(path, out_dir=tmp_path / 'out', tile=64)
    with pytest.raises(DataError, match=r'different: tile \(64, now 96\), overlap \(0\.2, now 0\.3\)'):
        local(path, out_dir=tmp_path / 'out', tile=96, overlap=0.3)
    with torch.no_grad():
        weight = next(local.model.parameters())
        before = weight.clone()
        weight += 1
        try:
            with pytest.raises(DataError, match='weights_sha256'):
                local(path, out_dir=tmp_path / 'out', tile=64)
        finally:
            weight.copy_(before)
    cv2.imwrite(str(path), cv2.imread(str(path))[::-1])
    with pytest.raises(DataError, match=r'a\.png has changed since'):
        local(path, out_dir=tmp_path / 'out', tile=64)
    (tmp_path / 'other/unfinished').mkdir(parents=True)
    (tmp_path / 'other/unfinished/mine.txt').touch()
    with pytest.raises(DataError, match=r'mine\.txt lies where this run'):
        local(path, out_dir=tmp_path / 'other', tile=64)
    assert (tmp_path / 'other/unfinished/mine.txt').exists()


def test_panoptic_models_are_refused(detector, picture, monkeypatch):
    from mmdet.structures import DetDataSample
    monkeypatch.setattr(detector, 'predict', lambda images, batch_size=1: [
        DetDataSample(pred_panoptic_seg=PixelData(), pred_instances=InstanceData())] * len(images))
    with pytest.raises(ConfigError, match='go without --tile'):
        detector(picture, tile=64)


def test_a_disk_without_room_for_the_labels_is_told_before_the_first_window(local, picture, tmp_path, monkeypatch):
    from collections import namedtuple
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr('mmvision_mamba.inference.tiled.work.shutil.disk_usage', lambda _: usage(0, 0, 1000))
    monkeypatch.setattr(local.model, 'encode_decode', lambda *_: pytest.fail('a window was predicted'))
    (_, reason), = local(picture, out_dir=tmp_path, tile=64)['failures']
    assert 'its labels take 0.0 GiB' in reason and 'make room' in reason
