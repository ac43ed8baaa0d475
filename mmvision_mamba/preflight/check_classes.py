"""Check that the classes of a config are the categories of an annotation file, in its order where that matters."""
from ..errors import DataError
from ..text import did_you_mean, shortened
from .datasets import metainfo_of

_BY_NAME = ("read the files by name: type='mmvision_mamba.datasets.coco_dataset.MendedCocoDataset' in each data set, "
            "'mmvision_mamba.evaluation.coco_metric.MendedCocoMetric' in the evaluators.")


def check_classes(path: str, categories: list[dict], dataset: dict, cls: type, orders: dict, by_name: bool) -> None:
    """Check that the classes of a data set's config are among the categories of its annotation file.

    Args:
        path: of the annotation file.
        categories: its items, each with a name.
        dataset, cls: config and class of the data set.
        orders: {classes: (path, their order)} of the first file with these classes; filled in here.
        by_name: whether the file is read by names, so that its order does not matter, nor a class that it lacks.

    Raises:
        DataError: a class is no category, or the categories come in another order than the classes.
    """
    classes = metainfo_of(dataset, cls).get('classes')
    if not isinstance(classes, list | tuple):
        return
    names = [c['name'] for c in categories]
    known, wanted = set(names), set(classes)
    missing = [name for name in classes if name not in known]
    if by_name and len(missing) < len(classes):
        return
    if missing and not names:
        raise DataError(f"{path}: its categories are empty, and the config has {len(classes)} classes: "
                        f'{shortened(classes)}.\nWay out: list them in categories, each with an id and its name')
    if missing:
        names_value = f'({", ".join(map(repr, names))},)' if len(names) <= 8 else "(the file's names)"
        if {name.casefold() for name in missing} & {name.casefold() for name in names}:
            raise DataError(f"{path}: its categories differ from the config's classes in their case: "
                            f'{shortened(missing)}; the file has {shortened(names)}.\nWay out: write the names alike '
                            'in all files')
        way_out = f'metainfo=dict(classes={names_value}) in each data set of the config, and ' \
                  f'num_classes={len(names)} in its heads.'
        if len(missing) < len(classes):  # a split may lack a class
            way_out = f'{_BY_NAME} Or, if no file has them, {way_out}'
        raise DataError(
            f"{path}: {len(missing)} of the config's {len(classes)} classes are not among its categories: "
            f'{shortened(missing)}{did_you_mean(missing[0], names)}. The file has: {shortened(names)}.\n'
            f'Way out: {way_out}')
    # mmdet numbers labels in the order of the file's categories, whatever the order of the classes.
    order = [name for name in names if name in wanted]
    first_path, first_order = orders.setdefault(frozenset(classes), (path, order))
    if order != first_order:
        raise DataError(f'{path}: its categories come in another order than those of {first_path}, and mmdet numbers '
                        f'labels in that order.\nWay out: {_BY_NAME}')
    if order != list(classes):
        ordered = f'({", ".join(map(repr, order))})' if len(order) <= 8 else '(in that order)'
        raise DataError(f"{path}: its categories come in another order than the config's classes, and mmdet numbers "
                        f'labels in the order of the file: names would be those of others.\nWay out: '
                        f'metainfo=dict(classes={ordered}) in each data set of the config, which keeps the labels of '
                        f'trained weights. Or {_BY_NAME}')
