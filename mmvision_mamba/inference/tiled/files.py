"""The files of a large picture's results: label maps as TIFFs or PNGs, instances as GeoJSON."""
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...datasets.georeference import Georeference
from ...datasets.label_maps import pixel_colours, pixel_values, segment_map
from .instances import Instance
from .outlines import polygons
from .segmentor import LabelFile

_TILE = 256  # pixels of a side of a TIFF's tiles
_CLASSIC = 2**31  # bytes up to which a TIFF has offsets of 32 bits


def write_tiff(path: Path, labels: LabelFile, num_classes: int, palette: Sequence[Sequence[int]],
               reduce_zero_label: bool, georeference: Georeference) -> None:
    """Write labels as a tiled, compressed TIFF with the classes' palette and the tags of a georeference.

    Some rows are in memory at a time.

    Args:
        path: of the TIFF.
        labels: all of them.
        num_classes, palette, reduce_zero_label: see `datasets.label_maps.segment_map`.
        georeference: of the picture.
    """
    import tifffile
    height, width = labels.shape
    values = pixel_values(np.zeros((0, 0)), num_classes).dtype

    def tiles() -> Iterator[np.ndarray]:
        for top in range(0, height, _TILE):
            rows = pixel_values(labels.rows(top, top + _TILE), num_classes, reduce_zero_label)
            rows = np.pad(rows, ((0, _TILE - len(rows)), (0, -width % _TILE)))
            yield from (rows[:, left:left + _TILE] for left in range(0, width, _TILE))
    options: dict = dict(photometric='minisblack')
    if values == np.uint8:
        colours = np.zeros((256, 3), np.uint16)
        used = pixel_colours(palette, reduce_zero_label)
        colours[:len(used)] = used
        options = dict(photometric='palette', colormap=(colours * 257).T)
    tifffile.imwrite(path, tiles(), shape=(height, width), dtype=values, tile=(_TILE, _TILE), compression='zlib',
                     bigtiff=height * width * values.itemsize > _CLASSIC, metadata=None, software=False,
                     extratags=georeference.extra_tags(), **options)


def write_png(path: Path, labels: LabelFile, num_classes: int, palette: Sequence[Sequence[int]],
              reduce_zero_label: bool) -> None:
    """Write labels as any segmentor's are written: all are in memory."""
    segment_map(labels.rows(), num_classes, palette, reduce_zero_label).save(path)


def write_geojson(path: Path, instances: Sequence[Instance], categories: Sequence[dict],
                  georeference: Georeference) -> None:
    """Write instances as polygons in ground coordinates, with the coordinate reference system.

    Without one that has an EPSG code coordinates are those of pixels: column and row from the upper left corner.

    Args:
        path: of the GeoJSON.
        instances: of the picture.
        categories: for each label a dict with `id` and `name`.
        georeference: of the picture.
    """
    on_ground = georeference.problem() is None
    header: dict = dict(type='FeatureCollection')
    if on_ground:
        header['crs'] = dict(type='name', properties=dict(name=f'urn:ogc:def:crs:EPSG::{georeference.epsg}'))
    with open(path, 'w', encoding='utf-8') as file:
        file.write(json.dumps(header)[:-1] + ', "features": [')
        for i, instance in enumerate(instances):
            parts = [[(georeference.to_ground(ring) if on_ground else ring).tolist() for ring in part]
                     for part in _polygons(instance)]
            category = categories[instance.label]
            feature = dict(type='Feature', properties=dict(category_id=category['id'], category=category.get('name'),
                                                           score=instance.score),
                           geometry=dict(type='Polygon', coordinates=parts[0]) if len(parts) == 1 else
                           dict(type='MultiPolygon', coordinates=parts))
            file.write(f'{"," if i else ""}\n{json.dumps(feature)}')
        file.write('\n]}\n')


def _polygons(instance: Instance) -> list[list[np.ndarray]]:
    """The polygons of an instance's mask, or of its box where it has none, in pixels of the picture."""
    if instance.mask is not None and instance.mask.height:
        corner = np.array([instance.mask.x, instance.mask.y])
        return [[ring + corner for ring in part] for part in polygons(instance.mask.pixels())]
    x1, y1, x2, y2 = instance.box
    return [[np.array([(x1, y1), (x1, y2), (x2, y2), (x2, y1), (x1, y1)])]]
