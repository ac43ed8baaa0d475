"""Loading transforms that name the file they can't read, and the test of an image file they share with the scanner."""
import functools
import io
import os
import zlib

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from ..errors import DataError

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
_ANNOTATION_LOADERS = ('LoadAnnotations', 'LoadPanopticAnnotations')


def image_problem(source: str | os.PathLike | bytes, quick: bool = True) -> str | None:
    """What is wrong with an image file, or None.

    Some OpenCV versions fill the missing part of a truncated JPEG with grey and say nothing, so decoding alone does not
    tell. A JPEG or PNG that is whole by its own structure is taken as good without being decoded; everything else, and
    with `quick=False` every file, is decoded once.

    Args:
        source: path (anything `mmengine.fileio.get` reads) or the file's content.
        quick: trust the structure of JPEG and PNG files. Damage inside a file that is whole is found only by False.

    Returns:
        A short phrase such as 'the image is truncated', or None for a good image.
    """
    if not isinstance(source, bytes | bytearray | memoryview):
        try:
            source = fileio.get(os.fspath(source))
        except FileNotFoundError:
            return 'the file is missing'
        except OSError as e:
            return f'the file cannot be read ({e.strerror or e})'
    content = bytes(source)
    if not content:
        return 'the file is empty'
    if content.startswith(_JPEG) and quick and _jpeg_is_whole(content):
        return None
    if content.startswith(_PNG):
        problem = _png_problem(content, checksums=not quick)
        if problem or quick:
            return problem
    return _decoding_problem(content)


def _jpeg_is_whole(content: bytes) -> bool:
    """Whether the end marker comes last (zeros may follow) and belongs to the image itself.

    The thumbnail in an EXIF header has an end marker too: it counts only past the image's own start of scan.
    """
    at = len(_JPEG) - 1
    while content[at:at + 1] == b'\xff':
        if content[at + 1:at + 2] == b'\xda':
            return content.rstrip(b'\0').endswith(b'\xff\xd9')
        at += 2 + int.from_bytes(content[at + 2:at + 4], 'big')
    return False


def _png_problem(content: bytes, checksums: bool) -> str | None:
    """Walks the chunks up to IEND. Whatever follows is no part of the image."""
    view, at = memoryview(content), len(_PNG)
    while at + 12 <= len(view):  # length, type, data, checksum
        end = at + 12 + int.from_bytes(view[at:at + 4], 'big')
        kind = bytes(view[at + 4:at + 8])
        if end > len(view):
            break
        if kind == b'IEND':
            return None
        # Lower-case initial: a chunk that decoders may ignore.
        stored = int.from_bytes(view[end - 4:end], 'big')
        if checksums and kind[:1].isupper() and zlib.crc32(view[at + 4:end - 4]) != stored:
            return 'the image is damaged'
        at = end
    return 'the image is truncated'


def _decoding_problem(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except UnidentifiedImageError:
        if content.startswith(_JPEG):
            return 'the image is truncated'
        return None if _cv2_reads(content) else 'it is not an image'  # a few formats are known to OpenCV only
    except Image.DecompressionBombError:  # more pixels than Pillow cares for
        return None if _cv2_reads(content) else 'the image is damaged or too large'
    except Exception as e:  # Pillow's plug-ins raise whatever they stumble over
        return 'the image is truncated' if 'truncated' in str(e).lower() else f'the image is damaged ({e})'
    return None


def _cv2_reads(content: bytes) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:
        return False


def _error(path, problem: str) -> DataError:
    return DataError(f'{path}: {problem}. Replace the file, or leave such files out with --skip-bad-images.')


@TRANSFORMS.register_module()
class CheckedLoadImageFromFile(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, arguments and pixels included, for files that may be broken.

    Adds to `results`: `img` (H, W, C) or (H, W), `img_shape` and `ori_shape` (H, W) in pixels.

    Raises:
        DataError: the file at `results['img_path']` is missing, empty, truncated or not an image. With
            `ignore_empty=True` the result is None instead, as in mmcv.
    """

    def transform(self, results: dict) -> dict | None:
        path, image = results['img_path'], None
        try:
            content = self._read(path)
        except FileNotFoundError:
            problem = 'the file is missing'
        except OSError as e:
            problem = f'the file cannot be read ({e.strerror or e})'
        else:
            problem = image_problem(content)
            if not problem:
                image, problem = self._decode(content)
        if problem:
            if self.ignore_empty:
                return None
            raise _error(path, problem)
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def _read(self, path: str) -> bytes:
        if self.file_client_args is not None:  # deprecated in mmcv, still accepted there
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        return fileio.get(path, backend_args=self.backend_args)

    def _decode(self, content: bytes) -> tuple[np.ndarray | None, str | None]:
        image = None
        try:
            image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        except Exception:
            if not image_problem(content, quick=False):
                raise  # the file is good: a wrong argument, or not enough memory
        if image is not None:
            return image, None
        return None, (image_problem(content, quick=False)
                      or f'imdecode_backend={self.imdecode_backend!r} cannot decode it')


class CheckedAnnotations(BaseTransform):
    """Any annotation loader; when it fails on a broken segmentation map, the error names the file.

    Args:
        loader_type: the loader's class; **kwargs are its arguments.

    Raises:
        DataError: the file at `results['seg_map_path']` is missing, empty, truncated or not an image.
    """

    def __init__(self, loader_type: type, **kwargs):
        self.loader = loader_type(**kwargs)

    def transform(self, results: dict) -> dict | None:
        try:
            return self.loader(results)
        except Exception as e:
            path = results.get('seg_map_path')
            local = not getattr(self.loader, 'backend_args', None)
            problem = image_problem(path, quick=False) if path and local else None
            if not problem:
                raise
            raise _error(path, problem) from e

    def __repr__(self) -> str:
        return repr(self.loader)


def use_checked_loading(cfg) -> None:
    """From now on `LoadImageFromFile` and `LoadAnnotations` in a pipeline build their checked versions.

    The names are rebound in the registry of the config's `default_scope` and the config stays as it is: it is written
    into work directories and checkpoints, where mmdet's and mmseg's inferencers look for these very names.
    """
    with TRANSFORMS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        # A loader that somebody registered under mmcv's name has precedence, and reads as it likes.
        if registry.get('LoadImageFromFile') is LoadImageFromFile:
            registry.register_module('LoadImageFromFile', force=True, module=CheckedLoadImageFromFile)
        for name in _ANNOTATION_LOADERS:
            loader = registry.get(name)
            if isinstance(loader, type):
                checked = functools.partial(CheckedAnnotations, loader)
                registry.register_module(name, force=True, module=checked)
