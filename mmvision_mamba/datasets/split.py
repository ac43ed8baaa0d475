"""Set a part of a data set aside for validation."""
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..made_beside import made_beside
from ..printable import is_name, shown
from ..work_dirs import remove_empty

FOLDER = 'splits'


def fold_folder(fold: int) -> str:
    """The folder of a fold's lists, in `FOLDER`."""
    return f'fold-{fold}'


def split_names(names: Sequence, val: float, seed: int = 0,
                group_of: Mapping[str, str] | None = None) -> tuple[list, list]:
    """Choose names for validation at random: (names to train with, names to validate with), in their order.

    Args:
        names: two or more, all different; each part gets at least one.
        val: fraction to validate with, in (0, 1). Of groups as many are chosen as don't exceed it, one at least.
        seed: of the choice. Default: 0.
        group_of: {name: its group}, which stay whole; a name without one is a group of its own. Default: all are.

    Raises:
        DataError: `val` is out of range, or there are too few names or groups.
    """
    if not 0 < val < 1:
        raise DataError(f'the part to validate with must lie between 0 and 1, got {val}')
    if len(names) < 2:
        raise DataError(f'there is {len(names)} image: it takes two to train with one and validate with the other')
    groups = whole_groups(names, group_of, seed)
    if len(groups) < 2:
        raise DataError('all images are in one group: it takes two to train with one and validate with the other')
    left = min(max(1, round(val * len(names))), len(names) - 1)
    chosen: set = set()
    for group in groups:
        if len(group) <= left:
            chosen.update(group)
            left -= len(group)
    chosen = chosen or set(min(groups, key=len))
    return [n for n in names if n not in chosen], [n for n in names if n in chosen]


def extended_split(names: Sequence, train: Collection, val: Collection, share: float,
                   seed: int = 0) -> tuple[list, list] | None:
    """As `split_names`, where some names have a part already, in which they stay; None where a part would be empty.

    Args:
        names: all that there are now.
        train, val: of which those may be that were there before.
        share: to validate with; of new names as many are chosen as it lacks.
        seed: of the choice. Default: 0.
    """
    held = {name for name in names if name in val and name not in train}
    new = [name for name in names if name not in val and name not in train]
    order = np.random.default_rng(seed).permutation(len(new))
    held.update(new[i] for i in order[:max(0, round(share * len(names)) - len(held))])
    return ([n for n in names if n not in held], [n for n in names if n in held]) \
        if 0 < len(held) < len(names) else None


def whole_groups(names: Sequence, group_of: Mapping[str, str] | None, seed: int) -> list[list]:
    """The names by groups, these in random order; a name without a group is one of its own."""
    groups: dict[object, list] = {}
    for name in names:
        groups.setdefault(('of', group_of[name]) if group_of and name in group_of else name, []).append(name)
    found = list(groups.values())
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def split_coco(content: dict, val: float, seed: int = 0) -> dict[str, dict]:
    """{'train' and 'val': COCO content}: each image in one of them, with its annotations; all else in both.

    Images of one file, whatever their ids, go into the same part.
    """
    parts = split_names(image_files(content), val, seed)
    return {split: part_of_coco(content, files) for split, files in zip(('train', 'val'), parts)}


def image_files(content: dict) -> list[str]:
    """The file names of the images of COCO content, each once."""
    return list(dict.fromkeys(image['file_name'] for image in content['images']))


def part_of_coco(content: dict, files: Collection[str]) -> dict:
    """COCO content with the images of some files alone, and their annotations."""
    files = set(files)
    images = [image for image in content['images'] if image['file_name'] in files]
    ids = {image['id'] for image in images}
    annotations = [a for a in content.get('annotations') or [] if a['image_id'] in ids]
    return dict(content, images=images, annotations=annotations)


def list_of(names: Iterable[str]) -> str:
    """Text of a list of names, one a line, as `read_lines` reads it.

    Raises:
        DataError: a name that a line can't hold.
    """
    names = list(names)
    for name in names:
        if name.strip() != name or len(name.splitlines()) != 1 or name.startswith('\ufeff') or not is_name(name) \
                or name.encode(errors='replace').decode() != name:
            raise DataError(f"the name '{shown(name)}' can not stand in a list of images: it begins or ends with a "
                            "space, or has a line break, '{{' or bytes that are no UTF-8 in it. Give the file another")
    return '\n'.join(names) + '\n'


def check_unsplit(root: str | os.PathLike) -> None:
    """Raise DataError if `root`/splits has anything in it, which a new split would overwrite."""
    for path in sorted((Path(root) / FOLDER).glob('*')):
        raise DataError(f'{path} exists: remove {Path(root) / FOLDER} to split the data anew')


def write_split(folder: str | os.PathLike, texts: Iterable[tuple[str, str]]) -> list[Path]:
    """Write the files of a split, all or none; returns their paths.

    Of two processes that write at the same time, one does, and the other raises.

    Args:
        folder: made anew; its own folder is there.
        texts: (name in the folder, text), made one after the other.

    Raises:
        DataError: the folder can't be written, or has files, such as those of another process.
    """
    target, paths = Path(os.path.realpath(folder)), []
    try:
        with made_beside(target) as new:
            for name, text in texts:
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_text(text, encoding='utf-8')
                paths.append(Path(folder) / name)
            remove_empty([target])
            new.rename(target)  # never over one that is not empty
    except OSError as error:
        check_unsplit(Path(folder).parent)
        raise DataError(f'{Path(folder)}: cannot write there: {error.strerror or error}.\nTake a copy of the data that '
                        'can be written to, such as `mmvision-mamba convert SRC DST --to coco` makes; or '
                        '`mmvision-mamba train FOLDER`, which sets a part aside in its own folder') from error
    return paths
