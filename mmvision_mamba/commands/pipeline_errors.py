"""What a model or a metric fails at says which step a pipeline lacks."""
import re
import traceback

_META_KEYS = ('batch_input_shape', 'img_id', 'img_path', 'img_shape', 'ori_shape', 'pad_shape', 'scale_factor')
_ANNOTATIONS = ('gt_instances', 'gt_sem_seg', 'gt_panoptic_seg', 'bboxes', 'labels', 'masks', 'sem_seg')
_ABSENT = re.compile(r"'(?:\w*DataSample|InstanceData|PixelData)' object has no attribute '_?(\w+)'")


def missing_in_pipeline(error: Exception) -> str | None:
    """The line to print for an error in a library's code, where a data set's pipeline may be its cause; else None.

    Args:
        error: with its traceback.
    """
    key, line = error.args[0] if error.args else None, traceback.extract_tb(error.__traceback__)[-1].line or ''
    if isinstance(error, AssertionError):
        key = next((name for name in _META_KEYS if f"'{name}'" in line), None)
    elif isinstance(error, AttributeError):
        match = _ABSENT.search(str(error))
        key = match[1] if match else None
    elif isinstance(error, RuntimeError) and 'always return None' in str(error):  # mmdet's MultiImageMixDataset
        return (f'{_pipeline(error)}: it gives nothing for the images that were tried: a step leaves out all their '
                'objects, or max_refetch is too small')
    elif isinstance(error, RuntimeError):
        if 'stack expects each tensor to be equal size' not in str(error):
            return None
        return (f'{_pipeline(error)}: the images of a batch have different sizes: add Resize or RandomCrop to it, or '
                'set batch_size to 1')
    if key in _META_KEYS:
        if key == 'scale_factor':
            return (f"{_pipeline(error)}: a model or a metric takes 'scale_factor' of each image, which the pipeline "
                    'leaves out: add Resize, and the key to the meta_keys of the last step (PackDetInputs, '
                    'PackSegInputs)')
        return (f'{_pipeline(error)}: a model or a metric takes {key!r} of each image, which the pipeline leaves out: '
                'add it to the meta_keys of its last step (PackDetInputs, PackSegInputs)')
    if key in ('inputs', 'data_samples'):
        return (f"{_pipeline(error)}: the model takes '{key}', which the pipeline does not give: add PackDetInputs "
                '(mmdet) or PackSegInputs (mmseg) as its last step')
    if key in _ANNOTATIONS:
        return (f"{_pipeline(error)}: a model or a metric takes '{key}' of each image, which the pipeline does not "
                'load: add LoadAnnotations, for boxes and masks with with_bbox=True and with_mask=True')
    return None


def _pipeline(error: Exception) -> str:
    """The key of the pipeline whose images were in use."""
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        name = type(frame.f_locals.get('self')).__name__
        for split in ('Train', 'Val', 'Test'):
            if name.endswith('Loop') and split in name:
                return f'{split.lower()}_dataloader.dataset.pipeline'
    return 'test_dataloader.dataset.pipeline' if not _trains(error) else 'train_dataloader.dataset.pipeline'


def _trains(error: Exception) -> bool:
    return any(frame.f_code.co_name == 'train_step' for frame, _ in traceback.walk_tb(error.__traceback__))
