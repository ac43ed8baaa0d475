"""Hostile annotation files, checkpoints, images and folders, each with the command that is to take it."""
import json
import os
import pickle
import random
import socket
import struct
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from . import fuzz
from .tool_material import NAMES, copied, file_name


class Try(NamedTuple):
    """A command's arguments, what is hostile in its input, and what it may do (see `forks.attempt`)."""

    argv: list
    what: str = ''
    codes: Collection[int] = (0, 2)
    lists: bool = False
    writes: Collection[Path] = ()


def command(name: str, root: Path, data: str, rng: random.Random) -> Try:
    """A command on a config, its data and its weights, all in `root`."""
    config, checkpoint, run = root / f'{data}.py', root / f'{data}.pth', root / 'run'
    argv = [name]
    if name == 'check-dataset':
        argv += [config, '--workers', '0', *(['--annotations-only'] if rng.random() < 0.3 else []),
                 *(['--json', run / 'report.json'] if rng.random() < 0.5 else [])]
        return Try(argv, codes=(0, 1, 2))
    if name == 'train':
        argv += [config, '--vis', 'none', '--work-dir', run / 'wd',
                 *(['--skip-bad-images'] if rng.random() < 0.3 else [])]
        return Try(argv)
    if name == 'tune':  # its trials are trainings, which `train` is tried with
        return Try([*argv, config, '--dry-run', '--work-dir', run / 'wd'])
    if name == 'resume':
        longer = dict(det='train_cfg.max_epochs=2', seg='train_cfg.max_iters=2')[data]
        return Try(['train', config, '--vis', 'none', '--work-dir', run / 'wd', '--resume', checkpoint,
                    '--cfg-options', longer])
    if name == 'test':
        argv += [config, checkpoint, '--work-dir', run / 'wd', *(['--skip-bad-images'] if rng.random() < 0.3 else [])]
        return Try(argv)
    if name == 'confusion':
        predictions = root / dict(det='det.pkl', seg='seg_predictions')[data]
        return Try([*argv, config, predictions if predictions.exists() else checkpoint, '--work-dir', run / 'wd'])
    if name == 'browse-dataset':
        return Try([*argv, config, '-n', '2', '--out', run / 'browse.png'])
    if name == 'infer':
        return Try([*argv, config, checkpoint, root / data, '--out-dir', run / 'out'], lists=True)
    if name == 'batch-infer':
        return Try([*argv, config, checkpoint, root / data, '--out', run / 'out', '--format',
                    rng.choice(['parquet', 'coco'])], lists=True)
    if name == 'attention-maps':
        image = next((root / data).rglob('*.[jJpP]*[gG]'), root / 'none.jpg')
        return Try([*argv, config, checkpoint, image, '--out', run / 'maps.png'])
    if name == 'publish':
        return Try([*argv, checkpoint, run / 'published.pth'])
    if name == 'split-dataset':
        return Try([*argv, root / data], writes=(root / data / 'splits',))
    if name == 'repair-annotations':
        return Try([*argv, root / data / 'train.json', run / 'mended.json'])
    if name == 'convert':
        return Try([*argv, root / data, run / 'converted', '--to', rng.choice(['coco', 'yolo', 'voc', 'masks'])])
    if name == 'plot-curves':
        return Try([*argv, root / f'{data}_run', '--out', run / 'curves.png'])
    if name == 'report':
        return Try([*argv, root / f'{data}_run', '--out-dir', run / 'report'])
    if name == 'model-info':
        return Try([*argv, config, '--no-memory', '--size', '64'])
    if name == 'models':
        return Try([*argv, 'cascade'])
    assert name in ('config', 'measure-bands')
    return Try([*argv, config])


# Annotation files ---------------------------------------------------------------------------------------------------

def annotations(base: Path, root: Path, rng: random.Random) -> Try:
    copied(base, root, ['det', 'det.py', 'det.pth', 'det.pkl'])
    name = rng.choice(['check-dataset'] * 4 + ['train', 'test', 'confusion', 'browse-dataset', 'infer', 'batch-infer']
                      + ['repair-annotations', 'split-dataset'] * 2)
    which = 'train' if name in ('repair-annotations', 'split-dataset', 'train') else 'val'
    path = root / f'det/{which}.json'
    content = json.loads(path.read_text())
    how, text = _annotation_text(content, rng)
    path.write_bytes(text)
    if rng.random() < 0.3:
        (root / 'det/train.json').write_bytes(text)
    if name == 'split-dataset':
        (root / 'det/val.json').unlink()
        (root / 'det/train.json').rename(root / 'det/all.json')
        (root / 'det/train').rename(root / 'det/images')
    return command(name, root, 'det', rng)._replace(what=how)


def _annotation_text(content: dict, rng: random.Random) -> tuple[str, bytes]:
    """What was done to an annotation file's content, and its bytes."""
    images, objects, categories = content['images'], content['annotations'], content['categories']
    how = rng.choice(['mutated'] * 6 + ['names'] * 4 + ['sections'] * 3 + ['text', 'nested', 'digits', 'many'])
    if how == 'mutated':
        for _ in range(rng.randrange(1, 4)):
            content = fuzz.mutated(content, rng.randrange)
    elif how == 'names':
        for _ in range(rng.randrange(1, 4)):
            item, key = rng.choice([(rng.choice(images), 'file_name')] * 3 + [
                (rng.choice(categories), 'name'), (rng.choice(categories), 'supercategory'), (rng.choice(images), 'id'),
                (rng.choice(objects), 'image_id'), (rng.choice(objects), 'id'), (rng.choice(images), 'coco_url'),
                (rng.choice(objects), rng.choice(NAMES)), (content, rng.choice(NAMES))])
            item[key] = rng.choice(NAMES) + rng.choice(['', '', '.jpg'])
            how += f' {key[:20]!r}: {item[key][:60]!r}'
    elif how == 'sections':
        key = rng.choice([*content, 'info', 'licenses'])
        content[key] = rng.choice([5, -1, 0.5, None, True, 'x', '', {}, {'a': 1}, [], [None], ['a'], [[]], [{}] * 3,
                                   [5], {'0': {}}, rng.choice(NAMES)])
        how += f' {key}: {str(content[key])[:60]!r}'
    elif how == 'many':
        number = rng.choice([2000, 20_000])
        which = rng.randrange(4)
        if which == 0:
            objects[0]['segmentation'] = [[float(i % 64) for i in range(2 * number)]]
        elif which == 1:
            objects += [dict(objects[0], id=100 + i) for i in range(number)]
        elif which == 2:
            categories += [dict(id=1000 + i, name=f'class {i}') for i in range(number)]
        else:
            objects[0]['segmentation'] = [[1, 1, 9, 1, 9, 9]] * number
        how += f' {number} of {which}'
    text = json.dumps(content)
    if how == 'nested':
        depth = rng.choice([50, 2000, 200_000])
        deep = rng.choice(['[' * depth, '{"a":' * depth, '[' * depth + ']' * depth])
        text = text.replace('"info": {}', f'"info": {deep}')
    elif how == 'digits':
        digits = rng.choice(['9' * 5000, '-' + '9' * 400, '1e999', '-1e999', '0.' + '3' * 5000, '1' + '0' * 30])
        key = rng.choice(['id', 'image_id', 'category_id', 'width', 'height', 'area', 'iscrowd'])
        parts = text.split(f'"{key}": ', 1)
        text = parts[0] + f'"{key}": {digits}' + parts[1].lstrip('0123456789') if len(parts) > 1 else digits
        how += f' {key} {digits[:20]}'
    data = text.encode()
    if how == 'text':
        data = rng.choice([
            b'', b'\0', b'null', b'5', b'"a"', b'[]', b'{}', b'NaN', b'[' * 100_000, data[:len(data) // 2], data + data,
            b'\xef\xbb\xbf' + data, text.encode('utf-16'), text.encode('utf-32'), b'\xff\xfe' + data,
            data.replace(b'cat', b'\xff\xfe'), data + b'\0' * 100, rng.randbytes(10), b'\x1f\x8b' + data,
            fuzz.spliced(data, rng.randrange, b'\0\xff\x80'), b'<html>' * 100])
        how += f' {data[:20]!r}'
    return how, data


# Checkpoints --------------------------------------------------------------------------------------------------------

def _tensors(rng: random.Random):
    makers = [
        lambda: torch.sparse_coo_tensor(torch.tensor([[0, 1]]), torch.ones(2), (4,)),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), lambda: torch.empty(3, device='meta'),
        lambda: torch.zeros(2, dtype=torch.complex64), lambda: torch.zeros(0), lambda: torch.tensor(1.),
        lambda: torch.ones(1).expand(1000), lambda: torch.full((8,), float('nan')), lambda: torch.zeros(3).bool(),
        lambda: torch.zeros(3, dtype=torch.int64), lambda: torch.nn.Parameter(torch.ones(2)),
        lambda: torch.ones(2, 3, 4, 5, 6, 7), lambda: np.zeros(3), lambda: np.float64('nan'),
        lambda: torch.Size([1]), lambda: torch.float32, lambda: torch.zeros(3, dtype=torch.float16),
        lambda: torch.as_strided(torch.zeros(4), (2, 2), (1, 1))]
    return rng.choice(makers)()


def _nested(depth: int) -> tuple:
    value: tuple = ('a',) * 8
    for _ in range(depth):
        value = (value,) * 8
    return value


def _odd_value(rng: random.Random):
    return rng.choice([
        lambda: _tensors(rng), lambda: _tensors(rng), lambda: rng.choice(NAMES), lambda: rng.choice(fuzz.VALUES),
        lambda: rng.choice(fuzz.VALUES), lambda: _nested(20), lambda: 10**rng.choice([30, 5000]), lambda: b'\xff' * 10,
        lambda: {rng.choice(NAMES): 1}, lambda: OrderedDict(a=rng.choice(NAMES)), lambda: ['a'] * 10_000,
        lambda: {1: 2, 'a': {b'x': None}}, lambda: set(NAMES[:3])])()


def _changed(content, rng: random.Random) -> str:
    """Change a few places of a tree in place; returns where."""
    places = []
    for _ in range(rng.randrange(1, 3)):
        place, path = content, []
        for least in (8, 3, 3, 2, 2, 2):
            keys = list(place) if isinstance(place, dict) else range(len(place)) if isinstance(place, list) else ()
            if not keys:
                break
            key = rng.choice([*keys])
            path.append(str(key))
            if not isinstance(place[key], dict | list) or not place[key] or not rng.randrange(least):
                break
            place = place[key]
        if not path or not isinstance(place, dict | list) or not place:
            continue
        how = rng.randrange(6)
        if how == 0:
            del place[key]
        elif how == 1 and isinstance(place, dict):
            place[rng.choice([rng.choice(NAMES), 5, None, b'a', ('a', 1), 'state_dict', 'model'])] = place.pop(key)
        elif how == 2 and isinstance(place[key], torch.Tensor) and place[key].is_floating_point():
            place[key] = rng.choice([lambda t: t.flatten(), lambda t: t[:1], lambda t: t.half(), lambda t: t.double(),
                                     lambda t: t * float('nan'), lambda t: t.to_sparse() if t.dim() else t,
                                     lambda t: t[None], lambda t: t.to('meta')])(place[key])
        else:
            place[key] = _odd_value(rng)
        places.append('.'.join(path)[:80] + f' ({how})')
    return ', '.join(places)


def checkpoints(base: Path, root: Path, rng: random.Random) -> Try:
    data = rng.choice(['det', 'seg'])
    copied(base, root, [data, f'{data}.py', f'{data}.pth'])
    path = root / f'{data}.pth'
    name = rng.choice(['test', 'infer', 'publish', 'publish', 'resume', 'resume', 'batch-infer', 'attention-maps',
                       'confusion'])
    how = rng.choice(['tree'] * 5 + ['bytes', 'pickle', 'predictions', 'other'])
    if how == 'predictions':
        copied(base, root, ['det.py', 'det.pkl', *(['det'] if data != 'det' else [])])
        items = pickle.loads((root / 'det.pkl').read_bytes())
        how += f' {_changed(items, rng)}'
        (root / 'det.pkl').write_bytes(pickle.dumps(items) if rng.random() < 0.7 else fuzz.spliced(
            pickle.dumps(items), rng.randrange, b'\0\xff'))
        return command('confusion', root, 'det', rng)._replace(what=how)
    content = path.read_bytes()
    if how == 'tree':
        tree = torch.load(path, weights_only=False)
        how += f' {_changed(tree, rng)}'
        torch.save(tree, path, _use_new_zipfile_serialization=rng.random() < 0.7)
    elif how == 'bytes':
        path.write_bytes(fuzz.spliced(content, rng.randrange, b'\0\xff\x80\x02'))
    elif how == 'pickle':
        path.write_bytes(fuzz.with_pickle(content, lambda old: fuzz.spliced(old, rng.randrange, b'\x80\x02(tR.')))
    else:
        value = rng.choice([
            dict(), [], None, 5, 'a', dict(state_dict={}), dict(state_dict=5), dict(state_dict=dict(a=1)),
            torch.ones(3), dict(state_dict=None, meta=None), dict(meta={}), OrderedDict(a=torch.ones(2)), _nested(60),
            dict(state_dict=_odd_value(rng)), {'a\n' * 50: torch.ones(1)}])
        how += f' {type(value)!s}'
        torch.save(value, path)
    return command(name, root, data, rng)._replace(what=how)


# Images -------------------------------------------------------------------------------------------------------------

def _image(rng: random.Random) -> tuple[str, bytes]:
    kind = rng.choice(['spliced'] * 6 + ['size'] * 3 + ['bytes', 'fill', 'start'])
    content = rng.choice(fuzz.IMAGES)
    size = struct.pack('>HH', *(rng.choice([0, 1, 300, 30_000, 65_535]) for _ in range(2)))
    if kind == 'spliced':
        return kind, fuzz.spliced(content, rng.randrange, rng.choice([b'\0\xff', b'\xff' * 8, b'\0' * 16, size]))
    if kind == 'size':
        which = rng.randrange(4)
        wide, high = (rng.choice([0, 1, 300, 30_000, 2**31 - 1]) for _ in range(2))
        jpeg, png = fuzz.IMAGES[0], fuzz.IMAGES[1]
        at = jpeg.index(b'\xff\xc0')
        return f'{kind} {which}', [
            jpeg[:at + 5] + size + jpeg[at + 9:], png[:16] + struct.pack('>II', wide, high) + png[24:],
            fuzz.IMAGES[3][:18] + struct.pack('<ii', wide, high) + fuzz.IMAGES[3][26:],
            f'P6 {wide} {high} 255\n'.encode() + bytes(100)][which]
    if kind == 'fill':  # bytes that decoders skip between the markers of a JPEG
        jpeg = fuzz.IMAGES[0]
        at = jpeg.index(b'\xff\xc0')
        return kind, jpeg[:at] + b'\xff' * rng.choice([1, 2, 50]) + jpeg[at:at + 5] + size + jpeg[at + 9:]
    if kind == 'start':
        return kind, rng.choice([
            b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', b'\x76\x2f\x31\x01', b'II*\0', b'MM\0*', b'BM',
            b'RIFF', b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n', b'GIF89a',
            b'\0\0\0\x0cjP  ', b'P4 9 9\n',
            b'P7\n', b'%PDF', b'8BPS', b'\0\0\1\0', b'#define x_width 9\n', b'<svg/>', b'/* XPM */', b'SIMPLE  ='
            ]) + rng.randbytes(rng.choice([0, 20, 2000]))
    return kind, rng.choice([b'', b'\0' * 5000, rng.randbytes(1000), content * 3, content[:len(content) // 2]])


def images(base: Path, root: Path, rng: random.Random) -> Try:
    data = rng.choice(['det', 'seg'])
    copied(base, root, [data, f'{data}.py', f'{data}.pth'])
    paths = sorted(path for path in (root / data).rglob('*') if path.is_file() and path.suffix != '.json')
    whats = []
    for path in rng.sample(paths, rng.choice([1, 1, 2, len(paths)])):
        what, content = _image(rng)
        path.write_bytes(content)
        whats.append(f'{path.relative_to(root)}: {what}')
    name = rng.choice(['check-dataset', 'check-dataset', 'train', 'train', 'test', 'infer', 'infer', 'batch-infer',
                       'browse-dataset', 'attention-maps', 'confusion'])
    return command(name, root, data, rng)._replace(what=', '.join(whats))


# Folders ------------------------------------------------------------------------------------------------------------

def trees(base: Path, root: Path, rng: random.Random) -> Try:
    data = rng.choice(['det', 'seg'])
    extra = dict(det=['det_run', 'det.pkl'], seg=['seg_run', 'seg_predictions'])[data]
    copied(base, root, [data, f'{data}.py', f'{data}.pth', 'outside', *(extra if rng.random() < 0.3 else [])])
    whats = []
    for _ in range(rng.choice([1, 1, 2, 4])):
        whats.append(_change_tree(root, data, rng))
    name = rng.choice(['check-dataset', 'train', 'test', 'infer', 'infer', 'batch-infer', 'browse-dataset', 'publish',
                       'split-dataset', 'confusion', 'plot-curves', 'model-info', 'config', 'repair-annotations'])
    given = command(name, root, data, rng)
    if rng.random() < 0.4:  # outputs at a place that may not do
        given = given._replace(argv=[
            _odd_output(root, argument, rng, whats) if isinstance(argument, Path)
            and argument.is_relative_to(root / 'run') else argument for argument in given.argv])
    return given._replace(what=', '.join(whats))


def _change_tree(root: Path, data: str, rng: random.Random) -> str:
    places = [path for folder in (root / data, root / f'{data}_run') if folder.exists() for path in folder.rglob('*')]
    places += [root / data, root / f'{data}.py', root / f'{data}.pth']
    places = [path for path in places if path.exists() and not path.is_symlink()]
    if not places:
        return 'nothing'
    path = rng.choice(places)
    how = rng.choice(['rename', 'rename', 'add', 'add', 'remove', 'empty', 'link', 'folder', 'file', 'fifo', 'socket',
                      'mode', 'loop'])
    name = file_name(rng)
    try:
        if how == 'rename':
            path.rename(path.with_name(name + rng.choice(['', path.suffix])))
        elif how == 'add':
            folder = path if path.is_dir() else path.parent
            source = rng.choice([p for p in places if p.is_file()])
            (folder / (name + rng.choice(['', source.suffix]))).write_bytes(source.read_bytes())
        elif how == 'mode':
            path.chmod(rng.choice([0, 0o200, 0o400, 0o111]))
        elif how == 'loop':
            (path if path.is_dir() else path.parent).joinpath('loop').symlink_to(rng.choice(['.', '..', 'loop', root]))
        else:
            moved = root / 'moved'
            if not moved.exists():
                path.rename(moved)
                if how == 'empty':
                    path.touch()
                elif how == 'link':
                    path.symlink_to(rng.choice([
                        moved, '/dev/zero', '/dev/null', '/proc/nowhere', root / 'outside', path.name, name,
                        '/proc/self/mem', root / 'outside/secret.jpg', '/dev/stdin']))
                elif how == 'folder':
                    path.mkdir()
                elif how == 'file':
                    path.write_bytes(rng.randbytes(100))
                elif how == 'fifo':
                    os.mkfifo(path)
                elif how == 'socket':
                    os.chdir(path.parent)
                    socket.socket(socket.AF_UNIX).bind(path.name)
                    os.chdir(root)
    except OSError as error:
        return f'{how}: {error.strerror}'
    return f'{how} {path.relative_to(root)} {name[:40]!r}'


def _odd_output(root: Path, path: Path, rng: random.Random, whats: list[str]) -> Path | str:
    run = root / 'run'
    run.mkdir(exist_ok=True)
    how = rng.choice(['name', 'name', 'folder', 'file', 'below a file', 'missing', 'link', 'dangling', 'fifo', 'proc',
                      'empty', 'long'])
    whats.append(f'output: {how}')
    if how == 'name':
        return str(run / (file_name(rng) + rng.choice(['', path.suffix])))
    if path.exists() or path.is_symlink():
        return path
    if how == 'folder':
        (path / 'content').mkdir(parents=True)
    elif how == 'file':
        path.write_text('mine')
    elif how == 'below a file':
        (run / 'file').touch()
        return run / 'file' / path.name
    elif how == 'missing':
        return run / 'a/b/c' / path.name
    elif how == 'link':
        (run / 'elsewhere').mkdir(exist_ok=True)
        path.symlink_to(run / 'elsewhere')
    elif how == 'dangling':
        path.symlink_to(run / 'nowhere/at all')
    elif how == 'fifo':
        os.mkfifo(path)
    elif how == 'proc':
        return f'/proc/self/{path.name}'
    elif how == 'empty':
        return ''
    else:
        return run / ('x' * (255 - len(path.suffix)) + path.suffix)
    return path
