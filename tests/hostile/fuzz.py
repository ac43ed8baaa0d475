#!/usr/bin/env python3
"""Fuzzing with atheris: python -m tests.hostile.fuzz TARGET [libFuzzer's options, such as -max_total_time=60].

Each target takes bytes, makes an input of them, and lets every exception through that is no refusal.
"""
import contextlib
import copy
import io
import json
import math
import os
import pickle
import sys
import tempfile
import types
import zipfile

import numpy as np
import torch

from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.datasets.coco_annotations import coco_problems
from mmvision_mamba.datasets.image_files import image_problem
from mmvision_mamba.datasets.loading import CheckedLoadImageFromFile
from mmvision_mamba.datasets.problems import KINDS
from mmvision_mamba.errors import UserError

from ..helpers.tiny_datasets import coco_content, picture

VALUES = [None, True, False, 0, -1, 1, 2, 10, 13, 40, 1e300, -1e300, math.nan, math.inf, 2**70, 0.5, '', 'a', '1', '长',
          [], {}, [1], [[1]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6]], [1, 2, 3, 4], ['a'], [None] * 6,
          dict(size=[36, 40], counts=[1440]), dict(size=[36, 40], counts=[10]), dict(size=[40, 36], counts='a'),
          dict(size=[36, 40], counts='0b]1'), dict(counts=[1440]), dict(size=None, counts=None)]


def mutated(content: dict, pick) -> dict:
    """A COCO file with a few places deleted, doubled or replaced; `pick(n)` chooses one of n."""
    content = copy.deepcopy(content)
    for _ in range(1 + pick(2)):
        place, key = content, list(content)[pick(len(content))] if content else None
        for least in (12, 12, 3, 2, 2):  # mostly values of single items: a file without its lists is soon refused
            inner = place[key] if key is not None else None
            if not isinstance(inner, dict | list) or not inner or not pick(least):
                break
            place, key = inner, list(inner)[pick(len(inner))] if isinstance(inner, dict) else pick(len(inner))
        if key is None:
            break
        how = pick(8)
        if how == 0:
            del place[key]
        elif how == 1 and isinstance(place, list):
            place.insert(pick(len(place) + 1), copy.deepcopy(place[key]))
        elif how == 2 and isinstance(place[key], int | float):
            place[key] = place[key] * (-1, 0, 1000, 0.001)[pick(4)]
        else:
            place[key] = copy.deepcopy(VALUES[pick(len(VALUES))])
    return content


def spliced(content: bytes, pick, data: bytes) -> bytes:
    """A file with a few bytes changed, cut out, or replaced by others."""
    content = bytearray(content)
    for _ in range(1 + pick(4)):
        at = pick(len(content)) if content else 0
        how = pick(4)
        if how == 0:
            content[at:at + 1] = bytes([pick(256)])
        elif how == 1:
            del content[at:]
        elif how == 2:
            del content[at:at + 1 + pick(64)]
        else:
            content[at:at + len(data)] = data
    return bytes(content)


def with_pickle(archive: bytes, change) -> bytes:
    """A checkpoint in the new format, with `change` applied to the pickle inside: the archive's checksums are right."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out := io.BytesIO(), 'w') as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith('data.pkl') else content)
    return out.getvalue()


def checkpoint_files() -> list[bytes]:
    """A detector's, in torch's new and old formats, with what a Runner keeps besides weights."""
    from mmengine.logging import HistoryBuffer
    content = dict(state_dict={'backbone.w': torch.ones(4, 3), 'head.b': torch.zeros(2, dtype=torch.bfloat16)},
                   meta=dict(epoch=1, time='now', classes=('a', 'b')), message_hub=dict(
                       log_scalars=dict(loss=HistoryBuffer([1., 2.], [1, 1])), runtime=dict(
                           x=np.float64(0.5), state=np.arange(5, dtype=np.uint32))))
    files = []
    for zipped in (True, False):
        torch.save(content, out := io.BytesIO(), _use_new_zipfile_serialization=zipped)
        files.append(out.getvalue())
    return [*files, pickle.dumps(dict(a=1))]


IMAGES = [picture(name) for name in ('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM')]
FOLDER = tempfile.mkdtemp()


def image(content: bytes) -> None:
    """Loaded as an image of three channels, or refused; the quick look and the thorough one never crash."""
    path = os.path.join(FOLDER, f'{os.getpid()}.jpg')
    with open(path, 'wb') as file:
        file.write(content)
    image_problem(content, quick=False)
    with contextlib.suppress(UserError):
        loaded = CheckedLoadImageFromFile().transform(dict(img_path=path))['img']
        assert loaded.dtype == np.uint8 and loaded.ndim == 3 and loaded.shape[2] == 3 and loaded.size


def annotations(content: dict) -> None:
    """Every problem is of a known kind; without errors, mmdet's own reading finds finite boxes."""
    from mmdet.datasets import CocoDataset
    if not all(isinstance(content.get(key), list) for key in ('images', 'annotations', 'categories')):
        return
    problems = list(coco_problems(content, True, ('bbox', 'segm')))
    if any(KINDS[problem.kind].level == 'error' for problem in problems):
        return
    path = os.path.join(FOLDER, f'{os.getpid()}.json')
    with open(path, 'w') as file:
        json.dump(content, file)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = CocoDataset(ann_file=path, data_prefix=dict(img='/'), metainfo=dict(
            classes=('circle', 'square', 'star')), serialize_data=False)
    for info in dataset:
        assert all(math.isfinite(value) for instance in info['instances'] for value in instance['bbox'])


def checkpoint(content: bytes) -> None:
    """Read, or refused."""
    path = os.path.join(FOLDER, f'{os.getpid()}.pth')
    with open(path, 'wb') as file:
        file.write(content)
    with contextlib.suppress(UserError):
        read_checkpoint(path)


def main() -> None:
    import atheris
    name = sys.argv[1]
    files = dict(image=IMAGES, checkpoint=checkpoint_files(), annotations=None)[name]
    target = globals()[name]
    start = coco_content()

    def one_input(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)

        def pick(n):
            return provider.ConsumeIntInRange(0, n - 1)
        if files is None:
            target(mutated(start, pick))
        elif name == 'checkpoint' and pick(2):
            target(with_pickle(files[0], lambda content: spliced(content, pick, provider.ConsumeBytes(16))))
        elif pick(8):
            target(spliced(files[pick(len(files))], pick, provider.ConsumeBytes(16)))
        else:
            target(provider.ConsumeBytes(4096))

    import mmvision_mamba.checkpoints.numpy_pickles as pickles
    import mmvision_mamba.checkpoints.reading as reader
    import mmvision_mamba.datasets.coco_annotations as checks
    import mmvision_mamba.datasets.image_files as image_files
    for module in (reader, checks, image_files, pickles):
        for key, value in vars(module).items():
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
                setattr(module, key, atheris.instrument_func(value))
    atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
