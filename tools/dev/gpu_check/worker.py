"""The process of a lane: does parts in order, and leaves each one's result in a file."""
import gc
import importlib
import json
import sys
import traceback
from dataclasses import replace as changed
from pathlib import Path

import torch

from mmvision_mamba.files import replace

from .lanes import AFTER_FAULT
from .stages import PARTS, Part, Place


def do(part: Part, place: Place) -> dict:
    """Do a part, and return what it found: a dict with `passed`, and `why` where it has not."""
    module, _, function = part.function.partition(':')
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        found = getattr(importlib.import_module(f'.{module}', __package__), function)(place, *part.arguments)
        return {'passed': True, 'why': '', **found}
    except Exception as error:
        traceback.print_exc()
        return dict(passed=False, why=f'{type(error).__name__}: {error}'.splitlines()[0][:300])


def write(path: Path, result: dict) -> None:
    text = json.dumps(result, ensure_ascii=False, default=str)
    replace(path, lambda temporary: temporary.write_text(text))


def main(folder: str, device: str, small: str, *names: str) -> None:
    """Do the parts called `names`; the results go to FOLDER/results/NAME.json, files to FOLDER/files/NAME."""
    place = Place(device, Path(folder), small == 'small')
    for name in names:
        print(f'--- {name}', flush=True)
        write(place.folder / 'results' / f'{name}.json',
              do(PARTS[name], changed(place, folder=place.folder / 'files' / name)))
        try:
            free_device()
        except RuntimeError as error:  # after a fault of the device every further call would fail
            print(f'after {name}: {error}', flush=True)
            sys.exit(AFTER_FAULT)


def free_device() -> None:
    """Give back what the last part held on the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


if __name__ == '__main__':
    main(*sys.argv[1:])
