"""Masks whose names are longer than their images': x_mask.png, x.jpg.png, x_labelTrainIds.png."""
import posixpath
from collections import Counter
from collections.abc import Mapping

# Of images, in whose place masks have their own.
_ENDS = ('_leftImg8bit', '_image', '_img', '_rgb', '_sat', '-image', '-img')
_BEST = ('labelTrainIds', 'mask', 'label', 'seg', 'gt')  # words of an end, where masks have several
_NONE = ('color', 'colour', 'instance', 'vis', 'overlay', 'edge')  # of ends that no map of classes has


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
    keys = {}
    for stem in images:
        keys[stem] = stem
        for end in _ENDS:
            if stem.endswith(end):
                keys.setdefault(stem.removesuffix(end), stem)
    found: dict[str, dict[str, str]] = {}  # {end: {image: mask}}
    for stem, mask in masks.items():
        name = posixpath.basename(stem)
        start = len(stem) - len(name)
        for i, letter in enumerate(name):
            if letter in '_-. ' and i and (image := keys.get(stem[:start + i])):
                end = name[i:]
                if stem in images[image]:  # x.jpg.png for x.jpg, beside x.png.png
                    end = '.SUFFIX'
                found.setdefault(end, {})[image] = mask
    counts = Counter({end: len(of) for end, of in found.items() if not any(word in end.lower() for word in _NONE)})
    if not counts or max(counts.values()) <= exact:
        return dict(masks)
    most = max(counts.values())
    best = min((end for end, count in counts.items() if count == most), key=_rank)
    return {stem: mask for stem, mask in masks.items() if stem in images} | found[best]


def _rank(end: str) -> tuple:
    return next((i for i, word in enumerate(_BEST) if word.lower() in end.lower()), len(_BEST)), end
