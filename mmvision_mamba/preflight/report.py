"""Report on the data sets of a config: every problem of their annotations, images and maps, and statistics."""
import copy
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from mmengine import Config, fileio
from mmengine.registry import TRANSFORMS
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader

from ..datasets.band_loading import LoadImageFromFile as LoadBands
from ..datasets.coco_annotations import file_name
from ..datasets.coco_files import check_lists
from ..datasets.image_files import (
    file_content,
    image_problem,
    label_map_problem,
    missing,
    range_of_16_bits,
    stretched_labels,
    with_both_sides,
)
from ..datasets.image_loader import image_loader
from ..datasets.loading import (
    CheckedAnnotations,
    CheckedLoadImageFromFile,
    annotated_size,
    is_coordinate,
    known_labels,
)
from ..datasets.mask_values import used_palette
from ..datasets.problems import KINDS, Contents, Problem
from ..datasets.usage import Usage, built_usage, coco_usage
from ..errors import DataError, UserError
from ..printable import shown
from ..text import class_name, shortened
from . import check_data as checks
from .annotation_files import Use, annotation_file, coco_uses, image_folder, joined, mends, reads_coco, reads_panoptic
from .band_report import BandReport, statistics_of
from .bit_depth import darkness_of
from .check_classes import check_classes
from .datasets import build_without_pipeline, datasets_of, loads_seg_maps, metainfo_of
from .image_sizes import loaded_size, sizes_in, sizes_of
from .panoptic import PanopticMap, check_panoptic_classes, maps_of
from .tiles import tile_summary
from .usage import needs_objects, nothing_left


class DatasetReport:
    """Statistics and problems of one data set of a config.

    Attributes:
        where: place in the config.
        type: class of the data set.
        path: annotation file, or folder.
        contents: its statistics, `Contents`.
        usage: what its loader uses, `Usage`. None: not known.
        notes: repairs of its annotation file.
        ignored: names of its categories that are no classes of the config.
        bands: what its images hold, where bands of them are loaded; `BandReport`. None: they are in colour.
        sizes: {(width, height): images}, as the pipeline loads them.
        span: (lowest, highest) value of these images. None: not known.
        unlabelled: pixels of its maps that have no label.
        problems: list of `Problem`.
        tiles: the numbers of images and tiles, as a line. None: it has no tiles.
    """

    def __init__(self, where: str, kind: str, path: str):
        self.where, self.type, self.path = where, kind, path
        self.contents, self.usage, self.notes, self.problems = Contents(), None, [], []
        self.ignored: list[str] = []
        self.tiles: str | None = None
        self.bands: BandReport | None = None
        self.sizes: Counter = Counter()
        self.span: tuple[float, float] | None = None
        self.unlabelled = 0

    def count(self, level: str) -> int:
        return sum(KINDS[problem.kind].level == level for problem in self.problems)

    def as_dict(self) -> dict:
        """Dict for a JSON file: the statistics, and each problem with its level."""
        contents = self.contents
        return dict(
            where=self.where, type=self.type, path=self.path, images=contents.images, objects=contents.objects,
            crowds=contents.crowds, images_without_objects=contents.empty, classes=dict(contents.classes),
            box_sides=self.box_sides(), image_sizes={f'{w}x{h}': n for (w, h), n in self.sizes.items()},
            tiles=self.tiles, values=self.span, unlabelled_pixels=self.unlabelled, repairs=self.notes,
            categories_ignored=self.ignored,
            **(dict(images_hold=self.bands.as_dict()) if self.bands else {}), used=self.usage and dict(
                images=self.usage.used_images, objects=self.usage.used_objects, not_used=self.usage.reasons),
            problems=[
                dict(level=KINDS[p.kind].level, kind=p.kind, where=p.where, detail=p.detail) for p in self.problems])

    def box_sides(self) -> dict[str, float] | None:
        """Minimum, quantiles and maximum of √(width · height) of the boxes, in pixels; None without boxes."""
        if not self.contents.sides:
            return None
        values = np.quantile(self.contents.sides, [0, 0.05, 0.5, 0.95, 1])
        return dict(zip(('min', '5%', 'median', '95%', 'max'), values.round(1).tolist()))

    def lines(self, most: int = 5) -> list[str]:
        """Lines of text, with at most `most` places of each kind of problem."""
        c, sides = self.contents, self.box_sides()
        lines = [f'{self.where} ({self.type}): {self.path}', f'  {c.images} images']
        if sides:
            lines[-1] += f', {c.objects} objects ({c.crowds} crowds), {c.empty} images without objects'
            lines.append('  box sides, √(w · h) in pixels: ' + ', '.join(f'{k} {v:g}' for k, v in sides.items()))
        if self.sizes:
            lines.append(f'  pixels: {shortened(_sizes(self.sizes), 4)}' + (
                f'; values {self.span[0]:g} to {self.span[1]:g}' if self.span else ''))
        if c.classes:
            total = max(1, sum(c.classes.values()))
            lines.append('  classes: ' + shortened([
                f'{name} {n}' if sides else f'{name} {n / total:.1%}' for name, n in c.classes.most_common()], 20))
        lines += self.bands.lines() if self.bands else []
        if self.usage:
            lines.append(f'  {self.usage.line()}')
        if self.tiles:
            lines.append(f'  {self.tiles}')
        if self.unlabelled:
            share = self.unlabelled / (self.unlabelled + sum(c.classes.values()))
            lines.append(f'  {share:.1%} of the pixels have no label, and count for nothing')
        if absent := [name for name, count in c.classes.items() if not count and any(c.classes.values())]:
            lines.append(f'  no {"object" if sides else "pixel"} of {shortened(absent)}')
        if self.ignored:
            number = len(self.ignored)
            lines.append(f'  {number} {"category" if number == 1 else "categories"} outside the config\'s classes '
                         f'{"is" if number == 1 else "are"} ignored: {shortened(self.ignored)}')
        if self.notes:
            lines.append(f'  mended: {"; ".join(self.notes)}')
        for name, kind in KINDS.items():
            problems = [problem for problem in self.problems if problem.kind == name]
            if problems:
                lines.append(f'  {kind.level}: ' + ('' if kind.of_file else f'{len(problems)} ') + kind.what)
                lines += [f'    {p.where}' + (f': {p.detail}' if p.detail else '') for p in problems[:most]]
                if len(problems) > most:
                    lines.append(f'    … and {len(problems) - most} more')
                lines.append(f'    → {problems[0].way_out(self.path)}')
        return [shown(line, 2000) for line in (lines if self.problems else [*lines, '  no problems'])]


def _sizes(sizes: Counter) -> list[str]:
    return [f'{width} × {height}' + (f' ({count})' if len(sizes) > 1 else '')
            for (width, height), count in sizes.most_common()]


def check_config(cfg: Config, splits: Sequence[str], workers: int = 0, files: bool = True) -> list[DatasetReport]:
    """Check annotations, images and segmentation maps of the data sets of a config.

    Args:
        cfg: of an experiment, its toolbox imported.
        splits: of 'train', 'val', 'test'. A data set that several share is checked once.
        workers: processes that decode images. Default: 0, the calling process alone.
        files: decode every image and segmentation map too.

    Raises:
        DataError: the config has no data set in these splits that could be checked.
    """
    reports, seen, orders, used = [], [], {}, {}
    metrics = [metric for split in splits for metric in checks.metrics_of(cfg, split)]
    uses = coco_uses([leaf for split in splits for leaf in datasets_of(cfg, split)], metrics)
    for split in splits:
        for where, dataset, cls in datasets_of(cfg, split):
            source = [dataset.get(key) for key in ('type', 'data_root', 'ann_file', 'data_prefix')]
            if source in seen:
                continue
            seen.append(source)
            path = joined(dataset, dataset.get('ann_file')) or dataset.get('data_root') or ''
            report = DatasetReport(where, cls.__name__, path)
            reports.append(report)
            try:
                checks.check_paths(cfg, [(where, dataset, cls)], checks.metrics_of(cfg, split))
                if (reads_coco(cls) or reads_panoptic(cls)) and annotation_file(dataset, cls):
                    image_files = _check_coco(report, dataset, cls, uses[annotation_file(dataset, cls)], orders)
                else:
                    image_files = _check_built(report, cfg, dataset, cls)
                report.tiles = tile_summary(cfg, dataset)
                if report.usage and needs_objects(cfg, split, dataset):
                    used.setdefault(split, []).append(report)
            except UserError as error:
                report.problems.append(Problem('data set', path or where, str(error).replace('\n', ' ')))
                continue
            if files:
                _check_files(report, image_files, workers)
    for split, parts in used.items():
        if why := nothing_left(split, sum((report.usage for report in parts), Usage())):
            parts[0].problems.append(Problem('data set', parts[0].path, why.replace('\n', ' ')))
    if not reports:
        raise DataError(f'the config has no data set of mmengine in {", ".join(splits)}: nothing to check')
    return reports


class _File(NamedTuple):
    """An image file, and what its annotations say of it."""

    path: str
    size: tuple | None = None  # width, height; None: not checked
    read_map: Callable | None = None  # loads its segmentation map
    map_path: str | None = None
    loader: CheckedLoadImageFromFile | None = None  # of the pipeline
    labels: range | None = None  # allowed in the map, 255 besides; None: any
    panoptic: PanopticMap | None = None


def _check_coco(report: DatasetReport, dataset: dict, cls: type, use: Use, orders: dict) -> list[_File]:
    """Check a COCO annotation file; returns its images, and the sizes of those with annotations."""
    content, report.notes = use.read(report.path)
    check_lists(report.path, content)
    report.problems += use.problems(content, report.contents)
    report.usage = coco_usage(content, **dict(use.datasets)[report.where])
    categories = [c for c in content['categories'] if isinstance(c, dict) and isinstance(c.get('name'), str)]
    try:
        if use.panoptic:
            check_panoptic_classes(report.path, categories, dataset, cls)
        else:
            check_classes(report.path, categories, dataset, cls, orders, mends(cls))
    except DataError as error:
        report.problems.append(Problem('data set', report.path, str(error).replace('\n', ' ')))
    classes = set(metainfo_of(dataset, cls).get('classes') or ())
    report.ignored = [c['name'] for c in categories if c['name'] not in classes] if classes else []
    folder = image_folder(dataset)
    annotated = {ann['image_id'] for ann in content.get('annotations') or [] if isinstance(ann, dict)
                 and isinstance(ann.get('image_id'), int | str)}
    files, loader, maps = {}, image_loader(dataset), maps_of(content, dataset) if use.panoptic else {}
    for image in content['images']:
        if isinstance(image, dict) and file_name(image):
            known = isinstance(image.get('id'), int | str) and image['id'] in annotated
            files[file_name(image)] = _File(
                fileio.join_path(folder, file_name(image)),
                (image.get('width'), image.get('height')) if known else None, loader=loader,
                panoptic=maps.get(image['id']) if known else None)
    return list(files.values())


def _check_built(report: DatasetReport, cfg: Config, dataset: dict, cls: type) -> list[_File]:
    """Check any other data set of mmengine, as its class reads it; returns its images."""
    try:
        built = build_without_pipeline(cfg, dataset)
    except DataError:
        raise
    except Exception as error:  # whatever the class stumbles over in broken files
        raise DataError(f'{cls.__name__} cannot read it: {type(error).__name__}: {error}') from error
    names = built.metainfo.get('classes') or ()
    contents = report.contents
    report.usage = built_usage(built, learns=not loads_seg_maps(dataset, cls))
    contents.images = len(built)
    contents.classes.update(dict.fromkeys(names, 0))
    loader = CheckedAnnotations(_annotation_loader(dataset, cfg))
    load_map = loader.loader if loads_seg_maps(dataset, cls) else None
    files = []
    for info in map(built.get_data_info, range(len(built))):
        path = info['img_path'][0] if isinstance(info['img_path'], list) else info['img_path']
        instances = info.get('instances') or []
        contents.empty += not instances and load_map is None
        report.problems += [Problem(kind, path, problem) for kind, problem in loader.objects_problems(
            dict(info, ori_shape=annotated_size(info)))]
        for instance in instances:
            x1, y1, x2, y2 = instance['bbox']
            if all(map(is_coordinate, instance['bbox'])):
                label = instance['bbox_label']
                contents.add_box(names[label] if label < len(names) else str(label), x2 - x1, y2 - y1)
                contents.crowds += bool(instance.get('ignore_flag'))
        size = annotated_size(info)
        files.append(_File(path, size and size[::-1], load_map and _MapReader(load_map, info), info.get('seg_map_path'),
                           image_loader(dataset), known_labels(cfg) if load_map else None))
    return files


class _MapReader(NamedTuple):
    """Function without arguments that loads one image's segmentation map (H, W), as the pipeline does."""

    transform: Callable
    info: dict

    def __call__(self) -> np.ndarray:
        return self.transform(dict(self.info, seg_fields=[]))['gt_seg_map']


def _annotation_loader(dataset: dict, cfg: Config) -> Callable | None:
    """The pipeline's `LoadAnnotations`, built; None if it has none."""
    for step in dataset.get('pipeline') or ():
        if isinstance(step, dict) and class_name(step.get('type')) == 'LoadAnnotations':
            with TRANSFORMS.switch_scope_and_registry(dataset.get('_scope_', cfg.get('default_scope'))) as registry:
                return registry.build(copy.deepcopy(step))
    return None


def _check_files(report: DatasetReport, files: list[_File], workers: int) -> None:
    """Decode the files, and add their problems and the pixels of each label to the report."""
    labels = Counter()
    bar = ProgressBar(len(files), file=sys.stderr) if sys.stderr.isatty() and files else None
    ranges, colours = [], {}
    loader = files[0].loader if files else None
    report.bands = BandReport(loader) if isinstance(loader, LoadBands) else None
    decoded = DataLoader(_DecodedFiles(files), batch_size=None, num_workers=workers)
    for problems, counts, values, palette, image, size, span in decoded:
        report.problems += [Problem(*problem) for problem in problems]
        labels.update(counts)
        report.sizes.update([tuple(size)] if size else [])
        report.span = _wider(report.span, span)
        ranges += [values] if values else []
        if report.bands and image:
            report.bands.add(*image)
        for value, (colour, path) in palette.items():
            other, first = colours.setdefault(value, (colour, path))
            if other != colour and not any(problem.kind == 'palettes' for problem in report.problems):
                report.problems.append(Problem('palettes', path, f'{value} is {colour} in it, and {other} in {first}'))
        if bar:
            bar.update()
    if bar:
        print(file=sys.stderr)
    if problem := darkness_of(ranges):
        report.problems.append(Problem('nearly black', report.path, f'{len(ranges)} images of 16 bits: {problem}'))
    if labels:
        names = list(report.contents.classes)
        for label, count in labels.items():
            if label != 255:
                report.contents.classes[names[label] if label < len(names) else str(label)] += count
        report.unlabelled = labels[255]


def _wider(one: tuple | None, other: tuple | None) -> tuple | None:
    return (min(one[0], other[0]), max(one[1], other[1])) if one and other else one or other


def _is_turned_unseen(content: bytes, image: np.ndarray, loader: CheckedLoadImageFromFile) -> bool:
    """Whether a loader turns an image, and leaves its sides as they are: by 180°, mirrored, or a square one."""
    if loader.color_type not in ('color', 'grayscale') or sizes_in(content).orientation == 1:
        return False
    stored = loader.decode(content, f'{loader.color_type}_ignore_orientation')[0]
    return stored is not None and stored.shape == image.shape and not np.array_equal(stored, image)


class _DecodedFiles(list):
    """PyTorch data set that decodes a file for each item.

    An item is its problems, {label: pixels}, the range of its 16-bit values, the palette of its map as {value: (colour,
    path)}, of a loader of bands their statistics and the image's (height, width), and of each image its size (width,
    height) and, but for bands, the range of its values, as it is loaded.
    """

    def __getitem__(self, index: int) -> tuple[list[tuple], dict[int, int], tuple[int, int] | None, dict[int, tuple],
                                               tuple | None, tuple[int, int] | None, tuple[float, float] | None]:
        file = super().__getitem__(index)
        problems, counts, palette = [], {}, {}
        sizes, values, size, unlike, turned, seen, span = None, None, None, None, False, None, None
        if isinstance(file.loader, LoadBands):
            file.loader.fill = [np.nan] * len(file.loader.bands)  # what is missing is to be counted
        try:
            content = file_content(file.path)
            problem = (file.loader.problem if file.loader else image_problem)(content, quick=False)
            if not problem:
                sizes = sizes_in(content)
                size = loaded_size(sizes, file.loader)
                unlike = file.size and file.size not in sizes[:2]
                if file.loader is not None:
                    image, problem = file.loader.decode(content)
                    if not problem:
                        turned = bool(file.size or file.read_map) and _is_turned_unseen(content, image, file.loader)
                        if file.size:
                            image, unlike = file.loader.as_annotated(content, image, file.size[::-1])
                        size = image.shape[1::-1]
                        if isinstance(file.loader, LoadBands):
                            seen = statistics_of(image), image.shape[:2]
                        else:
                            span = image.min().item(), image.max().item()
                    if not file.loader.color_type.startswith('unchanged'):
                        values = range_of_16_bits(content)
        except FileNotFoundError:
            problem = missing(file.path)
        except OSError as error:
            problem = f'the file cannot be read ({error.strerror or error})'
        if problem:
            problems.append(('image file', file.path, problem))
        elif unlike:
            problems.append(('image size', file.path, f'{" × ".join(map(str, size))} pixels, annotated as '
                             f'{shown(file.size[0], 40)} × {shown(file.size[1], 40)}'))
        if turned:
            problems.append(('turned image', file.path, ''))
        if file.panoptic:
            problems += file.panoptic.problems(size)
        if file.read_map and file.map_path:
            problem, counts = self._check_map(file, size)
            if problem:
                problems.append(('segmentation map', file.map_path, problem))
            elif (stored := sizes_of(file.map_path)) and stored.lossy:
                problems.append(('lossy map', file.map_path, ''))
            if not problem and not file.read_map.info.get('colours'):
                palette = {value: (str(colour), file.map_path) for value, colour in used_palette(file.map_path).items()}
        if file.read_map and file.read_map.info.get('shapes') is not None:
            problem, counts = self._check_drawn(file)
            problems += [('segmentation map', file.path, problem)] if problem else []
        return problems, counts, values, palette, seen, size, span

    def _check_drawn(self, file: _File) -> tuple[str | None, dict[int, int]]:
        try:
            values, counts = np.unique(file.read_map(), return_counts=True)
            return None, dict(zip(values.tolist(), counts.tolist()))
        except DataError as error:
            return str(error), {}

    def _check_map(self, file: _File, size: tuple | None) -> tuple[str | None, dict[int, int]]:
        problem = image_problem(file.map_path, quick=False) or stretched_labels(
            file_content(file.map_path), getattr(file.read_map.transform, 'imdecode_backend', None))
        if problem:
            return problem, {}
        try:
            seg_map = file.read_map()
        except Exception as error:  # whatever a loader stumbles over
            return f'{type(error).__name__}: {error}', {}
        seg_map = with_both_sides(seg_map, size and size[::-1])
        problem = label_map_problem(seg_map, size and size[::-1], file.labels, file.map_path)
        values, counts = np.unique(seg_map, return_counts=True)
        return problem, {} if seg_map.ndim > 2 else dict(zip(values.tolist(), counts.tolist()))
