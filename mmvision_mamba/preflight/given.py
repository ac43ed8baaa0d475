"""Which values of a config its user has set, and which it inherits from where `custom_data` is none."""
import contextlib
import re
from pathlib import Path

from mmengine import Config

from .datasets import value_at


class Given:
    """given(place): the value there if the user has set it, else None.

    The user's are those that differ from the file that has `custom_data`, and those of that file that differ from what
    it inherits. None counts as not set.

    Args:
        cfg: as read from its file, with overrides.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        path = Path(cfg.filename) if cfg.filename else None
        source = _source(path) if path else None
        self.source = _read(source) if source else cfg
        self.inherited = [_read(base) for base in bases(source)] if source else []

    def __call__(self, place: str):
        value, source = value_at(self.cfg, place), value_at(self.source, place)
        inherited = next((v for base in reversed(self.inherited) if (v := value_at(base, place)) is not None), None)
        return None if value == source and source == inherited else value


def _read(path: Path) -> Config:
    return Config.fromfile(path, import_custom_modules=False)


def _source(path: Path) -> Path | None:
    """The first file among a config and those that it inherits from which sets `custom_data`; None without one."""
    for base in bases(path):
        if (found := _source(base)) is not None:
            return found
    return path if re.search(r'^\s*["\']?custom_data["\']?\s*[=:]', path.read_text(encoding='utf-8'), re.M) else None


def files_of(path: Path) -> list[Path]:
    """The file of a config, and all that it inherits from; those that can't be read are left out."""
    found, todo = [], [path]
    while todo:
        path = todo.pop()
        if path not in found:
            found.append(path)
            with contextlib.suppress(Exception):  # whoever reads the config says it best
                todo += bases(path)
    return found


def bases(path: Path) -> list[Path]:
    """The files that a config names as its `_base_`."""
    # mmengine 0.10.7 has no seam here: a config that is read does not tell what its bases held.
    return [Path(Config._get_cfg_path(base, str(path))[0]) for base in Config._get_base_files(str(path))]
