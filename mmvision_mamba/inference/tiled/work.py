"""What a run on large pictures has done so far, in a folder beside its results, so that it can be stopped and go on."""
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...downloads import is_url
from ...errors import DataError
from ...files import read_text, replace
from ...printable import shown
from ...work_dirs import LOCK, hold
from ..batch_settings import NAME, check_same, read_manifest, text_of
from ..sources import Source

FOLDER = 'unfinished'
_TOOL = 'mmvision-mamba infer --tile'
_STATE = 'state.json'


class Work:
    """The folder: `manifest.json`, the settings that results depend on, and a folder for each picture that was begun.

    A picture's folder has `state.json`: the size and time of the last change of its file, the number of rows of windows
    that are done, and whether its results are written. A picture that comes from no file is begun anew each time.

    Args:
        folder: made by `hold`.
        settings: JSON-ready, see `batch_settings.settings_of`.
    """

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.manifest = folder, dict(tool=_TOOL, manifest=1, **settings)
        self._way_out = f'Remove {shown(folder)}, or write to another folder (--out-dir).'

    @contextmanager
    def hold(self, sources: Sequence[Source]) -> Iterator[None]:
        """Make the folder, or resume in it, and hold it against other processes.

        It is removed at the end, but for one by an error or because nobody asks for further results.

        Args:
            sources: all pictures.

        Raises:
            ConfigError: another process holds it.
            DataError: it holds other things, results of other settings, or of a picture that has changed since.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with hold(self.folder, way_out='--out-dir DIR'):
                saved = read_manifest(self.folder, _TOOL, 1, self._way_out)
                if saved is not None:
                    check_same(self.folder, saved, json.loads(text_of(self.manifest)), self._way_out)
                elif others := [path for path in self.folder.iterdir() if path.name != LOCK]:
                    raise DataError(f'{shown(others[0])} lies where this run would keep what is unfinished.\n'
                                    f'{self._way_out}')
                for source in sources:
                    self._check_unchanged(source)
                replace(self.folder / NAME, lambda path: path.write_text(text_of(self.manifest), encoding='utf-8'))
                yield
            shutil.rmtree(self.folder, ignore_errors=True)
        except OSError as error:
            raise DataError(f'{shown(self.folder)} can not be used: {error.strerror or error}.\n'
                            'Name another folder (--out-dir).') from None

    def of(self, source: Source) -> Path:
        """The folder of a picture."""
        return self.folder / f'{source.output}.parts'

    def check_room(self, source: Source, most: int) -> None:
        """Raise DataError where a picture's folder can't grow to `most` bytes."""
        folder = self.of(source)
        there = sum(path.stat().st_size for path in folder.iterdir())
        if most - there > (free := shutil.disk_usage(folder).free):
            raise DataError(f'its labels take {most / 2**30:.1f} GiB in {shown(self.folder)}, where {free / 2**30:.1f} '
                            'are free: make room, or name another folder (--out-dir)')

    def begin(self, source: Source) -> tuple[int, bool]:
        """Make a picture's folder; returns (rows of windows that are done, whether its results are written)."""
        state = self._state(source)
        if state is None or state['file'] is None:
            self.restart(source)
            return 0, False
        return state['rows'], state['written']

    def restart(self, source: Source) -> None:
        """Make a picture's folder anew."""
        shutil.rmtree(self.of(source), ignore_errors=True)
        self.of(source).mkdir(parents=True)
        self.note(source, 0)

    def note(self, source: Source, rows: int, written: bool = False) -> None:
        """Note how many rows of windows are done, and whether all results are written."""
        content = json.dumps(dict(file=_identity(source), rows=rows, written=written))
        replace(self.of(source) / _STATE, lambda path: path.write_text(content, encoding='utf-8'))

    def finish(self, source: Source) -> None:
        """Note that all results of a picture are written."""
        state = self._state(source)
        if state is not None:
            self.note(source, state['rows'], written=True)

    def _check_unchanged(self, source: Source) -> None:
        state = self._state(source)
        if state is not None and state['file'] is not None and state['file'] != _identity(source):
            raise DataError(f'{source.name} has changed since {shown(self.of(source))} has parts of its results, or it '
                            f'is another file.\n{self._way_out}')

    def _state(self, source: Source) -> dict | None:
        """What is noted of a picture; None where it has not been begun, or that is damaged."""
        try:
            state = json.loads(read_text(self.of(source) / _STATE, 2**16))
        except (OSError, ValueError, RecursionError):
            return None
        sound = isinstance(state, dict) and state.keys() == {'file', 'rows', 'written'} and isinstance(
            state['rows'], int) and isinstance(state['written'], bool)
        return state if sound else None


def _identity(source: Source) -> list | None:
    """What tells whether a picture's file is the same; None where it comes from none."""
    if source.folder is None or is_url(source.name):
        return None
    try:
        status = os.stat(source.name)
    except (OSError, ValueError):
        return None
    return [os.path.realpath(source.name), status.st_size, status.st_mtime_ns]
