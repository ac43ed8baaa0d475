"""The file of a run's config."""
import ast
import io
import tokenize
from pathlib import Path

from mmengine import Config, fileio

from ..text import without_templates

# What Python files of configs consist of that a run has written.
_VALUES = (ast.Module, ast.Assign, ast.Name, ast.Store, ast.Load, ast.Call, ast.keyword, ast.Constant, ast.Dict,
           ast.List, ast.Tuple, ast.UnaryOp, ast.USub)


def holds_values_alone(path: Path) -> bool:
    """Whether a config's file has values alone, as one that a run has written: no code, comments, or `_base_`.

    Written again it says the same. False where it can't be read.
    """
    try:
        text = path.read_text('utf-8')
        if path.suffix != '.py':
            return '_base_' not in text and (path.suffix == '.json' or '#' not in text)
        nodes = [*ast.walk(ast.parse(text))]
        read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        return read <= {'dict'} and '_base_' not in text and all(isinstance(n, _VALUES) for n in nodes) and not any(
            token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(text).readline))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def write_config(cfg: Config, path: Path) -> None:
    """`cfg.dump(path)`, such that texts with mmengine's templates in them, names of classes perhaps, stay texts."""
    cfg.dump(path)
    text = path.read_text('utf-8')
    if '{{' in text:  # of a YAML file, which has other escapes, JSON is a part
        path.write_text(without_templates(
            text if path.suffix == '.py' else fileio.dump(cfg.to_dict(), file_format='json')), 'utf-8')
