"""The classes that `custom_data.classes` asks for: some of those in a folder, renamed or several taken for one."""
from collections.abc import Collection, Mapping, Sequence

from ..datasets.merged_classes import Merged
from ..errors import ConfigError, DataError
from ..printable import shown
from ..text import did_you_mean, shortened

_KEY = 'custom_data.classes'


def chosen_classes(wanted: object, known: Collection[str], given: bool = False) -> Merged | None:
    """[(class, names in the data that it stands for)], in order; None where nothing is asked for.

    Args:
        wanted: names of classes in their order; or {class: the name, or names, in the data}. None: all.
        known: the classes in the data.
        given: whether the config names the classes by `metainfo.classes`, too. Default: False.

    Raises:
        ConfigError: a name is not in the data or stands for two classes, there is none, or `given`.
    """
    if wanted is None:
        return None
    if given:
        raise ConfigError(f'{_KEY} and metainfo.classes are both set: keep one of them')
    if isinstance(wanted, Mapping):
        named = [(_text(name, _KEY), _texts(names, f'{_KEY}.{shown(name)}')) for name, names in wanted.items()]
    else:
        named = [(name, [name]) for name in _texts(wanted, _KEY)]
    if not named:
        raise ConfigError(f'{_KEY} is empty: expected names, or names for names, such as {_KEY}.vehicle="[car,truck]"')
    class_of: dict[str, str] = {}
    for class_, names in named:
        for name in names:
            if name not in known:
                raise ConfigError(f"{_KEY}: the data have no class '{shown(name)}'{did_you_mean(name, known)}.\n"
                                  f'Their classes: {shortened(known, 20)}')
            if name in class_of:
                both = 'comes twice' if class_of[name] == class_ else \
                    f"is in two classes, '{shown(class_of[name])}' and '{shown(class_)}'"
                raise ConfigError(f"{_KEY}: '{shown(name)}' {both}")
            class_of[name] = class_
    return named


def chosen_for_maps(wanted: object, known: Collection[str], given: bool = False) -> Merged | None:
    """As `chosen_classes`, for a segmentor, which takes two classes at least."""
    chosen = chosen_classes(wanted, known, given)
    if chosen is not None and len(chosen) < 2:
        other = next((name for name in known if name not in chosen[0][1]), 'one of the background')
        raise ConfigError(f"{_KEY} has '{shown(chosen[0][0])}' alone, and a segmentor tells classes from each other.\n"
                          f'Add another, such as {shown(other)}')
    return chosen


def matching_classes(classes: Sequence[str], known: Collection[str], used: Collection[str], where: str,
                     partly: bool = False) -> Merged:
    """A trained model's classes among those of the data that it is tested on, by name; as `chosen_classes` returns.

    Args:
        classes: of the model.
        known: the classes of the data.
        used: those that something in them is of.
        where: the data.
        partly: whether they may lack some of the model's. Default: False.

    Raises:
        DataError: the data have others, or lack some.
    """
    more, missing = [name for name in used if name not in classes], [name for name in classes if name not in known]
    if more or (missing and not partly) or len(missing) == len(classes):
        differ = f", which the model does not know: {shortened(more)}{did_you_mean(more[0], missing)}" if more else \
            f' and not those of the model: {shortened(missing)}'
        raise DataError(f"{where}: the data have the classes {shortened(known)}{differ}.\nChoose and name them as the "
                        f'model does, {shortened(classes)}: {_KEY}="[…]", or {_KEY}.MODELS="[THEIRS,…]"')
    return [(name, [name]) for name in classes]


def codes_of(chosen: Merged | None, names: Sequence[str], codes: Sequence) -> tuple[tuple[str, ...], Sequence, list]:
    """How masks show a choice: (classes, the code of each or a list of several, codes that count as unlabelled).

    Args:
        chosen: None: all.
        names, codes: of the classes in the masks; a code is a pixel value or a colour.
    """
    if chosen is None:
        return tuple(names), codes, []
    code_of = dict(zip(names, codes))
    taken = [[code_of.pop(name) for name in sources] for _, sources in chosen]
    return tuple(class_ for class_, _ in chosen), [several if len(several) > 1 else several[0] for several in taken], \
        list(code_of.values())


def stand_for_themselves(chosen: Merged) -> bool:
    """Whether each class is one of the data's, under its own name."""
    return all([class_] == list(names) for class_, names in chosen)


def choice_note(chosen: Merged, known: Collection[str], what: str) -> str:
    """'vehicle: car, truck; WHAT: dog' for the user; '' where all classes are taken as they are."""
    notes = [f'{shown(class_)}: {shortened(names)}' for class_, names in chosen if [class_] != list(names)]
    taken = {name for _, names in chosen for name in names}
    left = [name for name in known if name not in taken]
    return '; '.join([*notes, *([f'{what}: {shortened(left)}'] if left else [])])


def _texts(value: object, where: str) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ConfigError(f'{where} is empty: expected the names of classes')
    return [_text(item, where) for item in values]


def _text(value: object, where: str) -> str:
    """A name; on the command line one of digits is a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise ConfigError(f'{where} has {shown(value)!r} where the name of a class is expected')
    return value
