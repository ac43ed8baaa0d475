"""Data sets whose items are tiles of their pictures, cut when they are loaded."""
import logging
import zlib
from collections.abc import Iterator

import numpy as np
from mmengine.logging import print_log

from ..errors import ConfigError, DataError
from ..limits import TILES
from ..printable import shown
from .class_names import is_background
from .coco_masks import masks_problem
from .cutting import Parts, Window, corners_of, cut_objects
from .loading import CheckedAnnotations
from .map_drawing import windows_met
from .tile_grid import DEFAULT_OVERLAP, Grid, Tiling
from .tile_loading import Decoded, LoadTile, LoadTileMap, shape_of, use_tile_loading

MIN_VISIBLE, EMPTY_TILES = 0.25, 0.1


class Tiled:
    """Mixin of mmengine's data sets of images: with `tile` their items are windows of the images.

    An item has what the image has, its place `tile`, (x, y, width, height), and `picture_shape`, the image's (height,
    width); a data sample has `tile_offset`, (x, y), and `picture_shape` in its metainfo. Objects are cut, see
    `cutting.cut_objects`, and coordinates count from the tile's corner. An image smaller than a tile is one tile, of
    its own size.

    A tile is empty if it has no object to learn; of a segmentation map, if all of its pixels are unlabelled, or of a
    class that stands for the background. The share of these that is used is chosen by their images' names and places,
    and is the same in each epoch and run.

    Args:
        *args: as for the data set.
        tile: pixels of a tile's side, 32 or more. None: items are whole images.
        tile_overlap: of neighbouring tiles, as a share of the side, 0 to 0.5. Default: 0.2.
        min_visible: share of an object that a tile must show, see `cutting.cut_objects`. Default: 0.25.
        empty_tiles: share of the empty tiles that is used. Default: 0.1.
        **settings: as for the data set; `indices` chooses images, not tiles.

    Attributes:
        summary: a line with the numbers of images and tiles.

    Raises:
        ConfigError: one of these is out of range.
        DataError: no tile is left; or objects can't be cut, or are too many. A mask that can't be decoded is an error
            where the pipeline loads masks; elsewhere the object's box is cut alone.
    """

    def __init__(self, *args, tile: int | None = None, tile_overlap: float = DEFAULT_OVERLAP,
                 min_visible: float = MIN_VISIBLE, empty_tiles: float = EMPTY_TILES, **settings):
        self.tiling = None if tile is None else checked_tiling(tile, tile_overlap, min_visible, empty_tiles)
        self.min_visible, self.empty_tiles = min_visible, empty_tiles
        self._decoded, self._changed = Decoded(), None
        self.summary = ''
        super().__init__(*args, **settings)

    def full_init(self) -> None:
        if self.tiling is None or self._fully_initialized:
            super().full_init()
            return
        serialize, self.serialize_data = self.serialize_data, False
        super().full_init()
        self.serialize_data = serialize
        pictures = len(self.data_list)
        tiles, empty = [], []
        for info in self.data_list:
            for one, is_empty in self._tiles_of(info):
                empty += [len(tiles)] if is_empty else []
                tiles.append(one)
        left_out = {*sorted(empty, key=lambda i: _chance(tiles[i]))[round(len(empty) * self.empty_tiles):]}
        self.data_list = [one for i, one in enumerate(tiles) if i not in left_out]
        side, full, used = self.tiling.tile, len(tiles) - len(empty), len(empty) - len(left_out)
        if not self.data_list:
            raise DataError(f'{self.ann_file or self.data_root}: all {len(empty)} tiles of {pictures} images are '
                            'empty, and none of these is to be used (empty_tiles)')
        self._decoded.clear()  # of the masks that have been looked at
        self.summary = (f'{pictures} images, {len(self.data_list)} tiles of {side} × {side} pixels at most: {full} '
                        f'with objects, {used} of {len(empty)} without')
        print_log(self.summary, 'current', logging.INFO)
        if serialize:
            self.data_bytes, self.data_address = self._serialize_data()

    def prepare_data(self, idx: int) -> dict | None:
        if self.tiling is None:
            return super().prepare_data(idx)
        if self.pipeline is not self._changed:  # hooks may replace it
            self.pipeline = self._changed = use_tile_loading(self.pipeline, self._decoded)
        info = self.get_data_info(idx)
        offset, shape = info['tile'][:2], info['picture_shape']
        data = self.pipeline(info)
        sample = data.get('data_samples') if isinstance(data, dict) else None
        if hasattr(sample, 'set_metainfo'):
            sample.set_metainfo(dict(tile_offset=offset, picture_shape=shape))
        return data

    def _tiles_of(self, info: dict) -> Iterator[tuple[dict, bool]]:
        """(item, whether it is empty) of each tile of an image."""
        try:
            shape = shape_of(info, next((step for step in self._steps() if isinstance(step, LoadTile)), None))
        except DataError:  # loading its one tile tells what is wrong
            side = self.tiling.tile
            yield dict(info, tile=(0, 0, side, side), picture_shape=(side, side)), False
            return
        height, width = shape
        if (number := self.tiling.number(height) * self.tiling.number(width)) > TILES.value:
            raise DataError(f'{info["img_path"]}: {width} × {height} pixels are {number} tiles, and {TILES.value} are '
                            f'allowed ({TILES.way_out}): take larger ones, or less overlap')
        grid = Grid.of(self.tiling, height, width)
        windows = [grid.window(row, column) for row in range(len(grid.rows)) for column in range(len(grid.columns))]
        parts = [dict(info, tile=window, picture_shape=shape, height=window[3], width=window[2]) for window in windows]
        if 'instances' in info and info.get('seg_map_path'):
            raise ConfigError(f'{info["img_path"]}: objects are cut to tiles, or maps are, not both: leave out tile, '
                              "or data_prefix's seg")
        if 'instances' in info:
            try:
                cut = cut_objects(self._sound_objects(info['instances'], shape), windows, self.min_visible)
            except DataError as error:
                raise DataError(f'{info["img_path"]}: {error}') from None
            except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
                raise DataError(f'{info["img_path"]}: an object can not be cut to tiles ({error})') from error
            for part, objects in zip(parts, cut):
                part['instances'] = objects
                yield part, all(one.get('ignore_flag') for one in objects)
        elif info.get('shapes') is not None:
            shown_in: list[list] = [[] for _ in parts]
            corners, allowed = corners_of(windows), Parts()
            for outline in info['shapes']:
                try:
                    met = allowed.count(windows_met(outline[1], corners))
                except DataError as error:
                    raise DataError(f'{info["img_path"]}: {error}') from None
                for index in met:
                    shown_in[index].append(outline)
            without = self._without_object()
            for part, outlines in zip(parts, shown_in):
                part['shapes'] = outlines
                yield part, all(label in without for label, _ in outlines)
        else:
            yield from ((part, is_empty) for part, is_empty in zip(parts, self._unlabelled(parts)))

    def _sound_objects(self, objects: list[dict], shape: tuple[int, int]) -> list[dict]:
        """An image's objects, those whose mask can't be decoded without it where none is learned."""
        learned = any(getattr(getattr(step.step, 'loader', step.step), 'with_mask', False)
                      for step in self._steps() if isinstance(step, LoadTileMap))
        found = []
        for one in objects:
            if one.get('mask') and (problem := masks_problem([one['mask']], *shape, as_bitmaps=False)):
                if learned:
                    raise DataError(f'an object, its box (x1, y1, x2, y2) {shown(one["bbox"], 100)}: {problem}')
                one = {key: value for key, value in one.items() if key != 'mask'}
            found.append(one)
        return found

    def _without_object(self) -> set[int]:
        """The labels of maps that stand for no object."""
        return {self.ignore_index, *(label for label, name in enumerate(self.metainfo.get('classes') or ())
                                     if is_background(name))}

    def _unlabelled(self, tiles: list[dict]) -> list[bool]:
        """Whether tiles of a map have no pixel to learn but of the background; where that can't be told, they have."""
        loader = next((step for step in self._steps() if isinstance(step, LoadTileMap)), None)
        if loader is None or self.empty_tiles == 1 or not tiles[0].get('seg_map_path'):
            return [False] * len(tiles)
        if not isinstance(loader.step, CheckedAnnotations):  # training makes it one later
            loader = LoadTileMap(CheckedAnnotations(loader.step), self._decoded)
        without = [*self._without_object()]
        try:
            return [bool(np.isin(loader.labels(one), without).all()) for one in tiles]
        except Exception:  # Pillow may raise anything; loading the tile tells what is wrong
            return [False] * len(tiles)

    def _steps(self) -> list:
        self.pipeline = self._changed = use_tile_loading(self.pipeline, self._decoded)
        return self.pipeline.transforms


def checked_tiling(tile: int, tile_overlap: float, min_visible: float, empty_tiles: float) -> Tiling:
    """How pictures are cut.

    Raises:
        ConfigError: a setting is out of range.
    """
    for name, value in (('min_visible', min_visible), ('empty_tiles', empty_tiles)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ConfigError(f'{name} must be a share, 0 to 1, got {value!r}')
    try:
        return Tiling(tile, tile_overlap)
    except ConfigError as error:
        raise ConfigError(str(error).replace('overlap must', 'tile_overlap must')) from None


def _chance(tile: dict) -> tuple[int, str, Window]:
    """A number that is the same for a tile on every machine, and orders them as if by chance."""
    name = tile['img_path'].replace('\\', '/').rpartition('/')[2]
    return zlib.crc32(f'{name} {tile["tile"]}'.encode()), tile['img_path'], tile['tile']
