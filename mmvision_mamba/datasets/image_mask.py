"""Folders of images and masks: any image format, nested folders, any pixel values for the classes."""
import os.path as osp
import posixpath
import re
from collections.abc import Collection, Iterable, Sequence

from mmseg.datasets import BaseSegDataset

from ..errors import DataError
from ..text import shortened
from .folders import IMAGES, find_files, other_kinds
from .image_mask_lists import MASKS, Pairs, listed, listed_pairs, pairs_of
from .mask_names import apart, by_image, preference
from .tiles import Tiled

_NUMBERED = re.compile(r'[_\-. ]?\(?[0-9]{1,9}\)?\Z')


class ImageMaskDataset(Tiled, BaseSegDataset):
    """mmseg's `BaseSegDataset` for images and masks of the same relative name, whatever their suffixes.

    An image or mask that isn't there is listed all the same: loading it is an error that names it.

    Args:
        values: pixel value of each class, or a list of several, in the order of `metainfo['classes']`. Default: 0, 1,
            2, …
        ignored: further pixel values, or colours, that count as unlabelled, like 255. Default: none.
        colours: (R, G, B) of each class, or a list of several, in that order, for masks that are pictures; the pipeline
            then has `map_loading.LoadAnnotations`. Default: none.
        ann_file: text file with the names of the images to use, see `listed`. Default: all.
        **settings: as for `BaseSegDataset`, and those of `Tiled`.

    Raises:
        DataError: there is no image, or the list can't be read.
    """

    def __init__(self, values: Sequence[int | Sequence[int]] | None = None, ignored: Sequence = (),
                 colours: Sequence[Sequence] | None = None, **settings):
        self.values, self.ignored, self.colours = values, ignored, colours
        super().__init__(**settings)

    def load_data_list(self) -> list[dict]:
        label_map, more = {}, {}
        if self.colours:
            labelled = [(colour, label) for label, item in enumerate(self.colours)
                        for colour in (item if isinstance(item[0], list | tuple) else [item])]
            labelled += [(colour, self.ignore_index) for colour in self.ignored]
            more = dict(colours=[colour for colour, _ in labelled], colour_labels=[label for _, label in labelled])
        else:
            label_map = dict.fromkeys(self.ignored, self.ignore_index)
            for label, item in enumerate(self.values or ()):
                label_map.update(dict.fromkeys(item if isinstance(item, list | tuple) else [item], label))
        if all(value == label for value, label in label_map.items()):
            label_map = None
        pairs = find_pairs(self.data_prefix['img_path'], self.data_prefix['seg_map_path'], self.ann_file or None).pairs
        return [dict(img_path=image, seg_map_path=mask, label_map=label_map, reduce_zero_label=self.reduce_zero_label,
                     seg_fields=[], **more) for image, mask in pairs]


def find_pairs(images: str, masks: str, names_file: str | None = None) -> Pairs:
    """Pairs of the same relative name below two folders: of the names in a file, or of all images.

    A mask's name may be longer than its image's, see `mask_names.by_image`; a file's lines may name both. Both may lie
    in one folder, see `mask_names.apart`.

    Raises:
        DataError: there is no image, or `listed` raises it.
    """
    if names_file and (both := pairs_of(names_file)):
        return listed_pairs(both, images, osp.dirname(names_file))
    image_files = find_files(images)
    all_masks = image_files
    if osp.normpath(images) == osp.normpath(masks):
        image_files, mask_files = apart(image_files)
    else:
        all_masks = mask_files = find_files(masks)
    named, mask_of = {}, {}  # {name without suffix: the images}, {…: the mask}
    for file in image_files:
        stem, suffix = posixpath.splitext(file)
        if suffix.lower() in IMAGES:
            named.setdefault(stem, []).append(file)
    for file in sorted(mask_files, key=preference):
        stem, suffix = posixpath.splitext(file)
        if suffix.lower() in MASKS:
            mask_of.setdefault(stem, file)
    notes = [f'{osp.basename(folder)}: {others} left out' for folder, files, kinds in (
        (images, image_files, IMAGES), (masks, mask_files, MASKS)) if (others := other_kinds(files, kinds))]
    mask_of = by_image(mask_of, named)
    if names_file:
        chosen = listed(names_file, named, images)
    else:
        chosen = sorted(file for files in named.values() for file in files)
        if unused := len(set(mask_of) - set(named)):
            notes.append(f'{unused} masks have no image')
    if further := _further(all_masks, set(image_files) if all_masks is not mask_files else set(), mask_of.values()):
        notes.append(f'{len(further)} further masks of images that have one are not read: {shortened(further, 3)}')
    if not chosen:
        raise DataError(f'{names_file or images}: there are no images')
    stems = [posixpath.splitext(file)[0] if file.lower().endswith(IMAGES) else file for file in chosen]
    pairs = [(posixpath.join(images, file), posixpath.join(masks, mask_of.get(stem, f'{stem}{MASKS[0]}')))
             for file, stem in zip(chosen, stems)]
    return Pairs(pairs, [mask for (_, mask), stem in zip(pairs, stems) if stem in mask_of], notes)


def _further(files: Iterable[str], images: Collection[str], masks: Iterable[str]) -> list[str]:
    """Those of the files that are neither images nor masks, and have a mask's name with a number behind it."""
    used = set(masks)
    stems = {posixpath.splitext(mask)[0] for mask in used}
    return [file for file in files if file not in used and file not in images and file.lower().endswith(MASKS)
            and _NUMBERED.sub('', posixpath.splitext(file)[0]) in stems]
