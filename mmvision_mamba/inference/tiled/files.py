"""The files of a large picture's results: label maps as TIFFs or PNGs, instances and areas as GeoJSON."""
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...datasets.georeference import Georeference
from ...datasets.label_maps import pixel_colours, pixel_values, segment_map
from .instances import Instance
from .label_polygons import label_polygons
from .outlines import polygons
from .segmentor import LabelFile

_TILE = 256  # pixels of a side of a TIFF's tiles
_PIXELS = 2**22  # of a map that are in memory while its areas are found
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
    write_features(path, ((dict(_category(categories[one.label]), score=one.score), _polygons(one))
                          for one in instances), georeference)


def write_label_geojson(path: Path, labels: LabelFile, categories: Sequence[dict], left_out: Sequence[int],
                        georeference: Georeference | None, reduce_zero_label: bool = False) -> None:
    """Write the areas of a label map as polygons, as `write_geojson` writes instances.

    Besides its category, whose ids count from 1, an area has the `pixel_value` by which the map's file has it. Some
    rows are in memory at a time.

    Args:
        path: of the GeoJSON.
        labels: of the picture.
        categories: see `write_geojson`.
        left_out: labels without polygons.
        georeference: of the picture; None: it has none.
        reduce_zero_label: see `datasets.label_maps.segment_map`. Default: False.
    """
    height, width = labels.shape
    values = pixel_values(np.arange(len(categories)), len(categories), reduce_zero_label).tolist()
    rows = max(_PIXELS // width, 1)
    areas = label_polygons((labels.rows(top, top + rows) for top in range(0, height, rows)), width, left_out)
    write_features(path, ((dict(_category(categories[label]), pixel_value=values[label]), [rings])
                          for label, rings in areas), georeference)


def write_features(path: Path, features: Iterable[tuple[dict, list[list[np.ndarray]]]],
                   georeference: Georeference | None) -> None:
    """Write a GeoJSON of (properties, polygons) as they come; polygons are lists of rings in pixels of the picture."""
    place = georeference if georeference is not None and georeference.problem() is None else None
    header: dict = dict(type='FeatureCollection')
    if place:
        header['crs'] = dict(type='name', properties=dict(name=f'urn:ogc:def:crs:EPSG::{place.epsg}'))
    with open(path, 'w', encoding='utf-8') as file:
        file.write(json.dumps(header)[:-1] + ', "features": [')
        for i, (properties, parts) in enumerate(features):
            rings = [[(place.to_ground(ring) if place else ring).tolist() for ring in part] for part in parts]
            geometry = dict(type='Polygon', coordinates=rings[0]) if len(rings) == 1 else \
                dict(type='MultiPolygon', coordinates=rings)
            feature = dict(type='Feature', properties=properties, geometry=geometry)
            file.write(f'{"," if i else ""}\n{json.dumps(feature)}')
        file.write('\n]}\n')


def _category(category: dict) -> dict:
    return dict(category_id=category['id'], category=category.get('name'))


def _polygons(instance: Instance) -> list[list[np.ndarray]]:
    """The polygons of an instance's mask, or of its box where it has none, in pixels of the picture."""
    if instance.mask is not None and instance.mask.height:
        corner = np.array([instance.mask.x, instance.mask.y])
        return [[ring + corner for ring in part] for part in polygons(instance.mask.pixels())]
    x1, y1, x2, y2 = instance.box
    return [[np.array([(x1, y1), (x1, y2), (x2, y2), (x2, y1), (x1, y1)])]]
