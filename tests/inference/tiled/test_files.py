import json

import numpy as np
import pytest

from mmvision_mamba.datasets.georeference import KEYS, SCALE, TIEPOINTS, Georeference
from mmvision_mamba.datasets.label_maps import read_segment_map, segment_map
from mmvision_mamba.inference.tiled.files import write_geojson, write_label_geojson, write_png, write_tiff
from mmvision_mamba.inference.tiled.instances import Instance
from mmvision_mamba.inference.tiled.segmentor import LabelFile


@pytest.fixture(params=[(4, False), (4, True), (300, False)])
def written(request, tmp_path):
    """Labels in a file, their number of classes, and whether masks count from 1."""
    classes, reduced = request.param
    values = np.random.default_rng(0).integers(0, classes, (300, 270))
    values[:9, :9] = 255
    labels = LabelFile(tmp_path / 'labels', values.shape, np.uint16 if classes > 255 else np.uint8)
    for top in (100, 0, 200):
        labels.write(top, values[top:top + 100].astype(labels.dtype))
    assert np.array_equal(labels.rows(), values) and np.array_equal(labels.rows(290, 310), values[290:])
    return labels, classes, reduced


def test_a_tiff_has_the_pixels_of_a_png(written, tmp_path):
    tifffile = pytest.importorskip('tifffile')
    labels, classes, reduced = written
    palette = [(i % 256, 7, 9) for i in range(classes)]
    write_tiff(tmp_path / 'a.tif', labels, classes, palette, reduced, Georeference({}))
    write_png(tmp_path / 'a.png', labels, classes, palette, reduced)
    expected = np.asarray(segment_map(labels.rows(), classes, None, reduced))
    assert np.array_equal(tifffile.imread(tmp_path / 'a.tif'), expected)
    assert np.array_equal(read_segment_map(tmp_path / 'a.png'), expected)


def test_a_box_without_a_mask_is_a_polygon(tmp_path):
    instance = Instance(1, 0.5, (2., 3., 8., 9.), (0, 0, 20, 20))
    write_geojson(tmp_path / 'a.geojson', [instance, instance], [dict(id=7, name='one'), dict(id=9, name='two')],
                  Georeference({}))
    first, _ = json.loads((tmp_path / 'a.geojson').read_text())['features']
    assert first['properties'] == dict(category_id=9, category='two', score=0.5)
    assert first['geometry'] == dict(type='Polygon', coordinates=[[[2, 3], [2, 9], [8, 9], [8, 3], [2, 3]]])


def test_no_instances_are_a_file_all_the_same(tmp_path):
    write_geojson(tmp_path / 'a.geojson', [], [], Georeference({}))
    assert json.loads((tmp_path / 'a.geojson').read_text()) == dict(type='FeatureCollection', features=[])


@pytest.mark.parametrize('placed', [True, False])
def test_the_areas_of_a_map_are_polygons_with_the_value_of_their_pixels(tmp_path, placed):
    """In ground coordinates, or in pixels where the picture has none."""
    labels = LabelFile(tmp_path / 'labels', (3, 4), np.uint8)
    labels.write(0, np.array([[1, 1, 1, 255], [1, 0, 1, 255], [1, 1, 1, 255]], np.uint8))
    place = Georeference({SCALE: (2., 2., 0.), TIEPOINTS: (0., 0., 0., 100., 50., 0.),
                          KEYS: (1, 1, 0, 1, 3072, 0, 1, 32633)}) if placed else None
    write_label_geojson(tmp_path / 'a.geojson', labels, [dict(id=4, name='x'), dict(id=5, name='y')], [255], place,
                        reduce_zero_label=not placed)
    content = json.loads((tmp_path / 'a.geojson').read_text())
    hole, around = content['features']
    assert ('crs' in content) == placed and hole['properties'] == dict(
        category_id=4, category='x', pixel_value=0 if placed else 1)
    outer, inner = around['geometry']['coordinates']
    corners = {(100, 50), (106, 50), (106, 44), (100, 44)} if placed else {(0, 0), (3, 0), (3, 3), (0, 3)}
    assert {tuple(point) for point in outer} == corners and len(inner) == 5
    assert hole['geometry']['coordinates'][0] != inner  # the same corners, the other way round
    assert {tuple(point) for point in hole['geometry']['coordinates'][0]} == {tuple(point) for point in inner}
