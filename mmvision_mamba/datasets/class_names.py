"""Names of the classes of masks, and their colours, as files beside them give them."""
import os.path as osp
from collections.abc import Iterable, Mapping, Sequence

from ..errors import ConfigError, DataError
from ..printable import shown
from .folders import read_lines, read_names
from .json_numbers import is_integer, whole_number

BACKGROUND = 'background'
_MOST = 255  # classes of a mask: the number behind them is that of pixels without a label
_LISTS = ('classes.txt', 'class_names.txt')
_COLOURS = ('labelmap.txt', 'class_dict.csv')
_TABLES = ('_classes.csv', 'train/_classes.csv')  # of an exporter: number, name


def is_background(name: str) -> bool:
    """Whether a class of masks is what tools call pixels that no object covers."""
    return name.strip('_').lower() == BACKGROUND


def background_of(names: Iterable[str]) -> str:
    """The class of pixels that no object covers: the first of these that is called so, else a name that is none."""
    return next(filter(is_background, names), BACKGROUND)


def class_names(root: str) -> tuple[str, ...] | None:
    """The classes of the masks in a folder, in the order of their numbers; None where no file names them.

    classes.txt and class_names.txt have one a line; labelmap.txt and class_dict.csv colours besides; _classes.csv, in
    the folder or in its `train`, numbers.
    """
    for name in _LISTS:
        if osp.isfile(path := osp.join(root, name)):
            names = read_names(path)
            return tuple(names[names[:1] == ['__ignore__']:])  # labelme's name for 255, which it has first
    if colours := class_colours(root):
        return tuple(colours)
    path = next((path for name in _TABLES if osp.isfile(path := osp.join(root, name))), None)
    return _numbered(path) if path else None


def names_classes(root: str) -> bool:
    """Whether a file of a folder names the classes of masks, maybe their colours."""
    return any(osp.isfile(osp.join(root, name)) for name in (*_LISTS, *_COLOURS, *_TABLES))


def _numbered(path: str) -> tuple[str, ...]:
    """The classes in a table of numbers and names below a line of headings."""
    names: dict[int, str] = {}
    for line in read_lines(path)[1:]:
        text, _, name = line.partition(',')
        value = whole_number(text)
        if not is_integer(value) or not 0 <= value < _MOST or not name.strip():
            raise DataError(f'{path}: {shown(line, 60)!r}: expected the number of a class, 0 to {_MOST - 1}, a comma '
                            'and its name')
        names[value] = name.strip()
    return tuple(names.get(value, f'class_{value}') for value in range(max(names, default=-1) + 1))


def class_colours(root: str, given: Mapping[str, Sequence[int]] | None = None) -> dict[str, tuple] | None:
    """{class: (R, G, B)}, in order, of `root`/labelmap.txt (name:R,G,B:…) or class_dict.csv (name,R,G,B).

    Args:
        root: of the data.
        given: the colours that the config gives, in the place of those. Default: none.

    Raises:
        DataError: a line is no name and colour, or two classes share either.
        ConfigError: `given` is no mapping of names to colours.
    """
    if given:
        found = [(name, colour, f'custom_data.colours.{name}') for name, colour in given.items()] \
            if isinstance(given, Mapping) else [(None, None, 'custom_data.colours')]
        error: type[Exception] = ConfigError
    else:
        path = next((path for name in _COLOURS if osp.isfile(path := osp.join(root, name))), None)
        if path is None:
            return None
        lines = [line for line in read_lines(path) if not line.startswith('#')]
        if path.endswith('.csv'):
            parts = [line.rsplit(',', 3) for line in lines]
            # A header has no numbers.
            begin = int(bool(parts) and not any(isinstance(whole_number(part), int) for part in parts[0][1:]))
            lines, parts = lines[begin:], parts[begin:]
        else:
            parts = [[line.partition(':')[0], *line.partition(':')[2].partition(':')[0].split(',')] for line in lines]
        found = [(part[0].strip(), part[1:], f'{path}: {shown(line, 60)!r}') for line, part in zip(lines, parts)]
        error = DataError
    colours: dict[str, tuple] = {}
    for name, colour, where in found:
        values = [whole_number(value) for value in colour] if isinstance(colour, list | tuple) else []
        if not isinstance(name, str) or not name or len(values) != 3 or not all(
                is_integer(value) and 0 <= value <= 255 for value in values):
            raise error(f'{where}: expected a class and its colour, three numbers from 0 to 255')
        if name in colours or tuple(values) in colours.values():
            raise error(f'{where}: another class has the same name or colour')
        if len(colours) == _MOST:
            raise error(f'{root}: there are more than {_MOST} colours, and mmseg takes no more classes')
        colours[name] = tuple(values)
    return colours or None
