"""Set a part of a data set aside for validation."""
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import cleared
from ..printable import is_name, shown

FOLDER = 'splits'


def split_names(names: Sequence, val: float, seed: int = 0) -> tuple[list, list]:
    """Choose names for validation at random: (names to train with, names to validate with), in their order.

    Args:
        names: two or more; each part gets at least one.
        val: fraction to validate with, in (0, 1).
        seed: of the choice. Default: 0.

    Raises:
        DataError: `val` is out of range, or there are too few names.
    """
    if not 0 < val < 1:
        raise DataError(f'the part to validate with must lie between 0 and 1, got {val}')
    if len(names) < 2:
        raise DataError(f'there is {len(names)} image: it takes two to train with one and validate with the other')
    count = min(max(1, round(val * len(names))), len(names) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(names))[:count].tolist())
    return [n for i, n in enumerate(names) if i not in chosen], [n for i, n in enumerate(names) if i in chosen]


def split_coco(content: dict, val: float, seed: int = 0) -> dict[str, dict]:
    """{'train' and 'val': COCO content}: each image in one of them, with its annotations; all else in both.

    Images of one file, whatever their ids, go into the same part.
    """
    files = list(dict.fromkeys(image['file_name'] for image in content['images']))
    parts = dict(zip(('train', 'val'), map(set, split_names(files, val, seed))))
    contents = {}
    for split, names in parts.items():
        images = [image for image in content['images'] if image['file_name'] in names]
        ids = {image['id'] for image in images}
        annotations = [a for a in content.get('annotations') or [] if a['image_id'] in ids]
        contents[split] = dict(content, images=images, annotations=annotations)
    return contents


def list_of(names: Sequence[str]) -> str:
    """Text of a list of names, one a line, as `read_lines` reads it.

    Raises:
        DataError: a name that a line can't hold.
    """
    for name in names:
        if name.strip() != name or len(name.splitlines()) != 1 or name.startswith('\ufeff') or not is_name(name) \
                or name.encode(errors='replace').decode() != name:
            raise DataError(f"the name '{shown(name)}' can not stand in a list of images: it begins or ends with a "
                            "space, or has a line break, '{{' or bytes that are no UTF-8 in it. Give the file another")
    return '\n'.join(names) + '\n'


def check_unsplit(root: str | os.PathLike) -> None:
    """Raise DataError if `root`/splits has files, which a new split would overwrite."""
    existing = sorted(path for path in (Path(root) / FOLDER).glob('*') if path.suffix != '.part')  # a killed split's
    if existing:
        raise DataError(f'{existing[0]} exists: remove {Path(root) / FOLDER} to split the data anew')


def write_split(root: str | os.PathLike, parts: dict[str, str], suffix: str) -> list[Path]:
    """Write `root`/splits/{train,val}`suffix`, each atomically; returns their paths.

    Raises:
        DataError: the folder can't be written.
    """
    paths = {split: Path(root) / FOLDER / f'{split}{suffix}' for split in parts}
    try:
        (Path(root) / FOLDER).mkdir(exist_ok=True)
        for split, path in paths.items():
            cleared(path.with_suffix('.part')).write_text(parts[split], encoding='utf-8')
        for path in paths.values():
            path.with_suffix('.part').rename(path)
    except OSError as error:
        for path in paths.values():
            path.with_suffix('.part').unlink(missing_ok=True)
        raise DataError(f'{Path(root) / FOLDER}: cannot write there: {error.strerror or error}') from error
    return list(paths.values())
