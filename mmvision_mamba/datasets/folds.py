"""Parts for k-fold cross-validation: of even sizes, groups whole, classes spread evenly."""
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..errors import DataError
from .split import whole_groups


def fold_names(names: Sequence[str], folds: int, seed: int = 0, group_of: Mapping[str, str] | None = None,
               classes_of: Mapping[str, Iterable] | None = None) -> list[list[str]]:
    """Divide names into parts, one to validate with in each fold: each name in one part, in their order.

    Without groups sizes differ by one at most; with groups no group that is moved, nor two that are exchanged, would
    bring the largest and the smallest part closer together. Each class is spread over the parts as evenly as that
    leaves room for, rare ones first.

    Args:
        names: of images, all different.
        folds: number of parts, 2 or more; none is empty.
        seed: of the choice. Default: 0.
        group_of: {name: its group}; a name without one is a group of its own. Default: all are.
        classes_of: {name: classes of its objects}. Default: none are known.

    Raises:
        DataError: there are fewer groups than folds, or than two folds.
    """
    groups = whole_groups(names, group_of, seed)
    if folds < 2 or len(groups) < folds:
        of = 'groups of images' if group_of else 'images'
        raise DataError(f'{folds} folds: expected 2 or more, and there are {len(groups)} {of}')
    present = [{class_ for name in group for class_ in (classes_of or {}).get(name) or (None,)} for group in groups]
    frequency = Counter(class_ for classes in present for class_ in classes)
    order = sorted(range(len(groups)), key=lambda i: (-len(groups[i]), min(frequency[c] for c in present[i])))
    room = [len(names) // folds + (fold < len(names) % folds) for fold in range(folds)]
    held: list[Counter] = [Counter() for _ in range(folds)]
    parts: list[list[list[str]]] = [[] for _ in range(folds)]
    for i in order:
        fitting = [fold for fold in range(folds) if room[fold] >= len(groups[i])] or [
            max(range(folds), key=room.__getitem__)]

        def cost(fold: int, classes=present[i]) -> tuple:
            share = sum(held[fold][class_] / frequency[class_] for class_ in classes)
            return share, bool(parts[fold]), -room[fold]
        best = min(fitting, key=cost)
        parts[best].append(groups[i])
        held[best].update(present[i])
        room[best] -= len(groups[i])
    _even_out(parts)
    place = {name: number for number, name in enumerate(names)}
    return [sorted((name for group in part for name in group), key=place.__getitem__) for part in parts]


def _even_out(parts: list[list[list[str]]]) -> None:
    """Move or exchange groups between the largest and the smallest part while that brings them closer together."""
    while True:
        sizes = [sum(map(len, part)) for part in parts]
        large, small = (parts[sizes.index(extreme(sizes))] for extreme in (max, min))
        gap = max(sizes) - min(sizes)
        given, taken = ({len(group): number for number, group in enumerate(part)} for part in (large, small))
        moves = [(abs(gap - 2 * size), size, 0) for size in given if size < gap and len(large) > 1]
        moves += [(abs(gap - 2 * (size - back)), size, back) for size in given for back in taken
                  if 0 < size - back < gap]
        if not moves:
            return
        _, size, back = min(moves)
        returned = [small.pop(taken[back])] if back else []
        small.append(large.pop(given[size]))
        large += returned
