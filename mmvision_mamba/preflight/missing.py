"""Images and masks that a data set names and that are not there."""
import os
import os.path as osp
from collections.abc import Sequence

from ..datasets.folders import missing_files
from ..errors import DataError


def check_present(source: str, paths: Sequence[str], kind: str = 'images') -> None:
    """Raise DataError where files are missing: how many, and the first.

    Args:
        source: the annotation file, list or folder that names them.
        paths: of the files.
        kind: what they are: 'images', 'masks', …
    """
    missing = missing_files(paths)
    if missing:
        some = ', or leave them out: --skip-bad-images' if len(missing) < len(paths) else ''
        of_list = ' A line of the list is a name alone, without suffix, label or comment.' if source.endswith('.txt') \
            else ''
        raise DataError(f'{source}: {len(missing)} of {len(paths)} {kind} are missing, the first: {missing[0]}.'
                        f'{_alike(missing[0]) or of_list}\nWay out: add them{some}')


def _alike(path: str) -> str:
    """' There is …' for a file whose name begins with that of a missing one; '' without any."""
    folder, name = osp.split(path)
    stem = osp.splitext(name)[0]
    alike = sorted(name for name in os.listdir(folder) if name.startswith(stem)) if osp.isdir(folder) else []
    return f' There is {alike[0]}: it is looked for by its whole name, suffix included.' if alike else ''
