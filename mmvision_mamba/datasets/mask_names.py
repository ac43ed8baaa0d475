"""Masks whose names are longer than their images': x_mask.png, x.jpg.png, x_labelTrainIds.png."""
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping

from .folders import IMAGES
from .image_mask_lists import MASKS

# Of images, in lower case, in whose place masks have their own.
_ENDS = ('_leftimg8bit', '_image', '_img', '_rgb', '_sat', '-image', '-img')
_BEST = ('labelTrainIds', 'mask', 'label', 'seg', 'gt')  # words of an end, where masks have several
_NONE = ('color', 'colour', 'instance', 'vis', 'overlay', 'edge')  # of ends that no map of classes has
_SUFFIX = '.SUFFIX'  # stands for the end that is the image's own suffix


def by_image(masks: Mapping[str, str], images: Mapping[str, list[str]]) -> dict[str, str]:
    """{an image's name without suffix: its mask}.

    Names of images count as they are where most images have such a mask; else one end for all masks is looked for that
    makes them an image's name, with or without suffix.

    Args:
        masks: {name without suffix: the mask}.
        images: {name without suffix: the images}.
    """
    exact = sum(stem in masks for stem in images)
    if exact > len(images) / 2:
        return dict(masks)
    found = _by_end(masks, images)
    counts = Counter({end: len(of) for end, of in found.items() if not _is_none(end)})
    if not counts or max(counts.values()) <= exact:
        return dict(masks)
    most = max(counts.values())
    best = min((end for end, count in counts.items() if count == most), key=_rank)
    return {stem: mask for stem, mask in masks.items() if stem in images} | found[best]


def apart(files: Iterable[str]) -> tuple[list[str], list[str]]:
    """(images, masks) among the files of one folder: x.jpg and x.png, or x.jpg and x_mask.png.

    Without masks for most of the images all are images.
    """
    files = [file for file in files if file.lower().endswith(IMAGES)]
    named: dict[str, list[str]] = {}
    for file in files:
        named.setdefault(posixpath.splitext(file)[0], []).append(file)
    masks = {min(found, key=preference) for found in named.values() if len(found) > 1}
    others = masks
    if len(masks) <= len(named) / 2:
        found = _by_end({stem: of[0] for stem, of in named.items()}, named)
        known = {end: {*of.values()} for end, of in found.items() if end == _SUFFIX or _rank(end)[0] < len(_BEST)
                 or _is_none(end)}
        best = min((end for end in known if not _is_none(end)), key=lambda end: (-len(known[end]), _rank(end)),
                   default='')
        masks, others = known.get(best, set()), set().union(*known.values())
    images = [file for file in files if file not in others]
    return (images, sorted(masks)) if 2 * len(masks) > len(images) else (files, [])


def _by_end(masks: Mapping[str, str], images: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """{an end of masks' names: {an image's name without suffix: the mask whose name is that and the end}}."""
    keys = {}
    for stem in images:
        keys[stem] = stem
        for end in _ENDS:
            if stem.lower().endswith(end):
                keys.setdefault(stem[:-len(end)], stem)
    found: dict[str, dict[str, str]] = {}
    for stem, mask in masks.items():
        name = posixpath.basename(stem)
        start = len(stem) - len(name)
        for i, letter in enumerate(name):
            if letter in '_-. ' and i and (image := keys.get(stem[:start + i])):
                end = name[i:]
                if stem in images[image]:  # x.jpg.png for x.jpg, beside x.png.png
                    end = _SUFFIX
                found.setdefault(end, {})[image] = mask
    return found


def _is_none(end: str) -> bool:
    return any(word in end.lower() for word in _NONE)


def _rank(end: str) -> tuple:
    return next((i for i, word in enumerate(_BEST) if word.lower() in end.lower()), len(_BEST)), end


def preference(file: str) -> tuple:
    """Sorts files of one name by how likely each is the mask, by its suffix."""
    suffix = posixpath.splitext(file)[1].lower()
    return MASKS.index(suffix) if suffix in MASKS else len(MASKS), file
