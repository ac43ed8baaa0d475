"""The file of a run's config."""
from pathlib import Path

from mmengine import Config, fileio

from ..text import without_templates


def write_config(cfg: Config, path: Path) -> None:
    """`cfg.dump(path)`, such that texts with mmengine's templates in them, names of classes perhaps, stay texts."""
    cfg.dump(path)
    text = path.read_text('utf-8')
    if '{{' in text:  # of a YAML file, which has other escapes, JSON is a part
        path.write_text(without_templates(
            text if path.suffix == '.py' else fileio.dump(cfg.to_dict(), file_format='json')), 'utf-8')
