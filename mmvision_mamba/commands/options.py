"""The command-line options that several commands share."""
import argparse
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configs import config_of_run, is_checkpoint, is_config, is_exported
from ..datasets.folders import IMAGES
from ..errors import ConfigError
from ..inference import DTYPES
from ..installation import openmmlab_problem
from ..limits import PIXELS
from ..printable import shown
from ..processes import is_first_process
from ..published import LICENCE, WORD, published_weights

CHECKPOINT = ('checkpoint file, URL or hf://OWNER/REPO; or, after a name that `mmvision-mamba models` lists, the word '
              f'{WORD}')


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options of train, test and confusion, named as in mmdet and mmseg."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and metrics go; default: work_dirs/CONFIG_NAME')
    add_cfg_options(parser)
    parser.add_argument('--skip-bad-images', action='store_true',
                        help='read every image first, and leave out and count those that are missing, truncated or not '
                        'images; without it the first such image stops the run')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch passes it; torchrun sets the environment variable.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def check_outputs(args: argparse.Namespace, cfg: Any = None) -> None:
    """Raise ConfigError where the file of --out or --json is one of the command's inputs, and would be replaced.

    Args:
        args: all that other arguments name is an input.
        cfg: a `Config` that the command has read: so are all files and images that it names. Default: none.
    """
    for option in ('out', 'json'):
        out = getattr(args, option, None)
        if not isinstance(out, (str, Path)) or not os.path.isfile(out):
            continue
        named = [path for name, value in vars(args).items() if name != option
                 for path in (value if isinstance(value, (list, tuple)) else [value])]
        named += [cfg.filename] if cfg is not None else []
        if any(_is_file(path, out) for path in named) or (cfg is not None and _names(dict(cfg.items()), out)) \
                or any(_is_file(path, out) for config in named if _is_config(config) for path in _files_of(config)):
            raise ConfigError(f"'{shown(out)}' is an input of this command, and can't be its output: name another file")


def check_sides(option: str, sides: Sequence[int], least: int = 1) -> None:
    """Raise ConfigError unless an option's height and width, in pixels, are those of an image that is made.

    Args:
        option: its name.
        sides: (height, width).
        least: that each may be. Default: 1.
    """
    given = f'{option} {" ".join(shown(side, 40) for side in sides)}'
    if min(sides) < least:
        raise ConfigError(f'{given}: expected height and width, or one side, of {least} pixels or more')
    if math.prod(sides) > PIXELS.value:
        raise ConfigError(f'{given}: images have at most {PIXELS.value} pixels ({PIXELS.way_out})')


def check_work_dir(cfg: Any) -> None:
    """Raise ConfigError where what a run writes to its work directory would replace a file that its config consists of.

    The config that a run wrote there may be written again.
    """
    from ..engine.config_files import holds_values_alone
    if not isinstance(cfg.work_dir, (str, Path)) or not str(cfg.work_dir):
        return  # whoever makes it says it
    first, *inherited = _files_of(cfg.filename)
    written = [Path(cfg.work_dir, name) for name in (first.name, 'metrics.json')]
    for path in (*inherited, *([] if holds_values_alone(first) else [first])):
        if any(_is_file(path, file) for file in written):
            raise ConfigError(f"'{shown(path)}' is a part of the config, and a run writes a file of this name to its "
                              'work directory: name another --work-dir')


def _is_config(path: Any) -> bool:
    return isinstance(path, (str, Path)) and Path(path).suffix in ('.py', '.json', '.yaml', '.yml') \
        and os.path.isfile(path)


def _files_of(config: str | Path) -> list[Path]:
    from ..preflight.given import files_of  # imports mmengine
    return files_of(Path(config))


def _is_file(path: Any, file: str | Path) -> bool:
    return isinstance(path, (str, Path)) and os.path.isfile(path) and os.path.isfile(file) \
        and os.path.samefile(path, file)


def _names(value: Any, file: str | Path, root: str = '', images: bool = False) -> bool:
    """Whether a part of a config names a file below its data root; `images`: or a folder that holds it."""
    if isinstance(value, Mapping):
        given = value.get('data_root')
        root = given if isinstance(given, str) else root
        return any(_names(item, file, root, images or key == 'data_prefix') for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_names(item, file, root, images) for item in value)
    if not isinstance(value, (str, Path)):
        return False
    path = os.path.join(root, value)
    inside = images and path and os.path.realpath(file).startswith(os.path.join(os.path.realpath(path), ''))
    return _is_file(value, file) or _is_file(path, file) or bool(inside and str(file).lower().endswith(IMAGES))


def use_published(args: argparse.Namespace) -> None:
    """Put the URL of a model's published weights in the place of the word `published` for a checkpoint.

    Raises:
        ConfigError: no model is named, or nothing is published for it.
    """
    for option in ('checkpoint', 'predictions'):
        if getattr(args, option, None) == WORD:
            setattr(args, option, _published(getattr(args, 'config', None) or getattr(args, 'model', None)))
    models = getattr(args, 'models', None) or []  # each a config and a checkpoint, or an exported file
    for i in range(1, len(models)):
        if models[i] == WORD:
            models[i] = _published(models[i - 1])


def _published(model: str | None) -> str:
    if model is None:
        raise ConfigError(f'{WORD}: name the model before it; `mmvision-mamba models` lists those there are')
    url = published_weights(model)
    if is_first_process():
        print(f'Licence of the weights: {LICENCE}', file=sys.stderr)
    return url


def add_model_and_inputs(parser: argparse.ArgumentParser, inputs: str) -> None:
    """The arguments [CONFIG] CHECKPOINT INPUT …, whose help is `inputs`; `model_and_inputs` tells them apart."""
    parser.add_argument('config', nargs='?', help='config file of a detector (mmdet), segmentor (mmseg) or classifier; '
                        'default: the one that a training wrote beside the checkpoint, and for an exported file none')
    parser.add_argument('checkpoint', help=f'{CHECKPOINT}; or a file that `mmvision-mamba export` wrote')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help=inputs)
    # argparse would divide the words before it has seen those that follow an option.
    parser.parse_args = parser.parse_intermixed_args


def model_and_inputs(args: argparse.Namespace) -> tuple[str, str | None, list[str]]:
    """The config, the checkpoint and the inputs of `add_model_and_inputs`; of an exported file it and None.

    Raises:
        ConfigError: no config is named and there is none beside the checkpoint, or no input is.
    """
    words = [word for word in (args.config, args.checkpoint, *args.inputs) if word is not None]
    if is_exported(words[0]) and len(words) > 1:
        return words[0], None, words[1:]
    if is_checkpoint(words[0]):
        words.insert(0, str(config_of_run(words[0])))
    if len(words) < 3:
        raise ConfigError(f'a config, a checkpoint and at least one input are expected, got {shown(" ".join(words))}; '
                          'the config may be left out where it lies beside the checkpoint')
    config, checkpoint, *inputs = words
    return config, checkpoint, inputs


def add_dtype(parser: argparse.ArgumentParser, default: str | None = 'float32') -> None:
    """The option --dtype, of inference."""
    parser.add_argument('--dtype', choices=list(DTYPES), default=default,
                        help='what the model computes in, weights held in it too: bf16, on CPUs and GPUs that have '
                        'instructions for it, or on GPUs fp16; default: float32')


def add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--task', choices=['detect', 'instances', 'semantic'],
                        help='what to learn from a folder: boxes, boxes and outlines, or the class of each pixel; '
                        'default: outlines where most objects have some, else what lies there')


def is_data(args: argparse.Namespace) -> bool:
    """Whether `args.config` is a folder of data, not a config.

    Raises:
        ConfigError: it is none, and --task is given.
    """
    if os.path.isdir(args.config) and not is_config(args.config):
        return True
    if args.task is not None:
        raise ConfigError(f"--task is for folders of data, and '{shown(args.config)}' is none")
    return False


def number_or_auto(text: str) -> float | str:
    """The type of --score-thr; argparse's errors quote its name."""
    return text if text == 'auto' else float(text)


def add_no_report(parser: argparse.ArgumentParser) -> None:
    """The option --no-report, of train and test."""
    parser.add_argument('--no-report', action='store_true',
                        help='keep nothing for a report, and make none; default: WORK_DIR/report/index.html at the end')


def add_font(parser: argparse.ArgumentParser) -> None:
    """The option --font, of pictures; `use_font` takes it."""
    parser.add_argument('--font', metavar='FILE', help='.ttf, .otf or .ttc that texts in pictures are drawn in, as far '
                        "as it has their characters; default: Matplotlib's, and installed ones for other scripts")


def use_font(args: argparse.Namespace) -> None:
    """Draw texts in the font of --font.

    Raises:
        ConfigError: it can't be used.
    """
    if args.font is not None:
        from ..inference.fonts import choose_font  # imports Matplotlib
        choose_font(args.font)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """The option --cfg-options; see `read_config`."""
    parser.add_argument('--cfg-options', nargs='+', action=_Overrides, metavar='KEY=VALUE',
                        help='override settings of the config; data_root=DIR moves every path below the old data_root. '
                        'Lists: key="[a,b]" or key=a,b; nested: key="[(a,b),(c,d)]"')


_SPACE = '\ue000'  # of no use to anyone
# A folder may have any name, with commas and brackets.
_PATHS = ('data_root', 'custom_data.train', 'custom_data.val', 'custom_data.test')
_DICT = re.compile(r"""['"]?(dict\(|\{|[\[(].*(dict\(|\{))""", re.DOTALL)  # a dict, or a list with one in it


class _Overrides(argparse.Action):
    """mmengine's `DictAction`, but it keeps the white space in strings such as paths."""

    def __call__(self, parser, namespace, values, option_string=None):
        if (problem := openmmlab_problem('--cfg-options')) is not None:
            raise problem
        from mmengine.config import DictAction  # imports torch: not for --help
        for item in values:
            if _DICT.match(item.partition('=')[2]):  # mmengine takes it for text, or never ends reading it
                raise argparse.ArgumentError(None, f'--cfg-options {item}: a dict is set key by key, such as '
                                                   'model.neck.type=FPN, or in a config file')
            try:
                DictAction(self.option_strings, self.dest)(parser, namespace, [_shielded(item)], option_string)
            except (ValueError, AssertionError, IndexError, RecursionError) as error:
                raise argparse.ArgumentError(None, f'--cfg-options {item}: {_advice(item, error)}') from error
        options = getattr(namespace, self.dest)
        for key, _, value in (item.partition('=') for item in values):
            options[key] = value.strip('\'"') if isinstance(options[key], str) else _unshielded(options[key])


def _shielded(item: str) -> str:
    """KEY=VALUE for `DictAction`, which takes all white space out of lists, and takes paths with commas for some."""
    key, sign, value = item.partition('=')
    if key in _PATHS and value != 'None':
        return f'{key}=path'
    if not any(mark in value for mark in '[(,'):
        return item
    return key + sign + ''.join(part.strip().replace(' ', _SPACE) for part in re.split(r'([\[\](),])', value))


def _unshielded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_unshielded, value))
    return value.replace(_SPACE, ' ') if isinstance(value, str) else value


def _advice(item: str, error: Exception) -> str:
    if '=' not in item:
        return 'KEY=VALUE pairs are taken, separated by white space, which a value has in quotes alone'
    problem = '' if isinstance(error, RecursionError) else f' ({error})'
    return f'the value can not be read{problem}: close each bracket that is opened, as in key="[(a,b),(c,d)]"'
