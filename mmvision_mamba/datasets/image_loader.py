"""The transform of a config's pipeline that loads images, built to read files as it does."""
from ..text import class_name
from .band_loading import LoadImageFromFile
from .loading import CheckedLoadImageFromFile


def image_loader(dataset: dict) -> CheckedLoadImageFromFile | None:
    """The loader of images in the pipeline of a data set's config; None where it has another class."""
    for step in dataset.get('pipeline') or ():
        if isinstance(step, dict) and class_name(step.get('type')) in ('LoadImageFromFile', 'CheckedLoadImageFromFile'):
            cls = LoadImageFromFile if 'bands' in step else CheckedLoadImageFromFile
            try:
                return cls(**{key: value for key, value in step.items() if key != 'type'})
            except TypeError:  # an unknown argument: building the pipeline says it best
                return None
    return None
