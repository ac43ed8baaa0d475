"""The commands of `mmvision-mamba`: one file each, with its options and its run.

A command's module has a docstring, whose first line is its summary, `add_options(parser)` and `run(args)`, which
returns the exit code or None for 0. Nothing heavy is imported before `run`: help and completion answer at once.
Python calls them by `call`, and gets errors instead of exit codes.
"""
import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from ..checkpoints import enforce_safe_reading
from ..errors import ConfigError
from ..limits import limit_opencv
from ..printable import shown
from ..processes import check_environment
from ..text import check_names, did_you_mean
from ..version import __version__
from .errors import (
    closed_output,
    interruptions,
    open_streams,
    printable_output,
    raising_user_errors,
    user_errors,
)

# In the order of the help.
COMMANDS = ('train', 'tune', 'test', 'infer', 'export', 'check-dataset', 'browse-dataset', 'split-dataset', 'convert',
            'repair-annotations', 'measure-bands', 'make-shapes', 'plot-curves', 'report', 'confusion',
            'attention-maps', 'model-info', 'batch-infer', 'serve', 'benchmark', 'ablate', 'demo', 'demo-app', 'config',
            'models', 'publish', 'doctor', 'setup-mmcv')


class Parser(argparse.ArgumentParser):
    """A parser whose errors are printable and bounded, whatever the arguments were; whole numbers have 64 bits."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.register('type', int, _whole)

    def error(self, message: str) -> NoReturn:
        super().error(shown(message, 2000))


def _whole(text: str) -> int:
    number = int(text)
    if not -2**63 <= number < 2**63:
        raise ValueError(text)  # argparse says which option has it
    return number


def main(command: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        command: one of `COMMANDS`, for the scripts in tools/. None: the first argument names it.
        argv: the arguments. Default: those of the process.
    """
    open_streams()
    with interruptions(), closed_output():
        return _main(command, sys.argv[1:] if argv is None else [str(argument) for argument in argv])


def _main(command: str | None, argv: Sequence[str]) -> int:
    if command is None and argv and argv[0] in COMMANDS and '_ARGCOMPLETE' not in os.environ:
        return main_of(argv[0], argv[1:], f'mmvision-mamba {argv[0]}')
    if command is not None:
        return main_of(command, argv)
    parser = Parser('mmvision-mamba', description='MambaVision for dense prediction: train, test, infer, export.',
                    epilog='mmvision-mamba COMMAND --help lists the options of a command.')
    parser.add_argument('--version', action='version', version=__version__)
    subparsers = parser.add_subparsers(metavar='COMMAND', title='commands')
    for name in COMMANDS:
        module = _module(name)
        subparser = subparsers.add_parser(name, help=_summary(module))
        if '_ARGCOMPLETE' in os.environ:
            module.add_options(subparser)
    _complete(parser)
    if argv and not argv[0].startswith('-'):
        parser.error(f'unknown command {argv[0]!r}{did_you_mean(argv[0], COMMANDS)}; there are: {", ".join(COMMANDS)}')
    parser.parse_args(argv)
    parser.print_help()
    return 0


def main_of(command: str, argv: Sequence[str], prog: str | None = None) -> int:
    """Parse the arguments of one command, run it and return its exit code."""
    module = _module(command)
    from .options import check_outputs, use_published  # which the command has imported
    parser = Parser(prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_options(parser)
    _complete(parser)
    enforce_safe_reading()
    limit_opencv()
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')  # it warns of each GeoTIFF's tags; broken files are named here
    printable_output()
    with user_errors():
        check_environment()
        args = parser.parse_args(argv)
        check_outputs(args)
        use_published(args)
        return module.run(args) or 0


def call(command: str, **options: Any) -> int:
    """Run a command in this process, as Python takes it, and return its exit code.

    Args:
        command: one of `COMMANDS`.
        options: its arguments, `work_dir` for --work-dir, True for an option without a value; those left out have
            their defaults.

    Raises:
        UserError: what the command would print. ConfigError: it has no such option, or not of that value.
    """
    from .options import check_outputs, use_published
    actions = options_of(command)
    check_names(options, actions, f'{command} has no option')
    values = {name: _option(actions[name], value) for name, value in options.items()}
    enforce_safe_reading()
    limit_opencv()
    with raising_user_errors():
        check_environment()
        args = argparse.Namespace(**{name: action.default for name, action in actions.items()} | values)
        check_outputs(args)
        use_published(args)
        return _module(command).run(args) or 0


def _option(action: argparse.Action, value: Any) -> Any:
    """An option's value as the command takes it, from one in Python."""
    if isinstance(value, bool) and action.nargs == '?':
        return action.const if value else action.default
    if isinstance(value, str) and callable(action.type):
        value = action.type(value)
    for item in value if isinstance(value, list | tuple) else [value]:
        if action.choices and item is not None and item not in action.choices:
            raise ConfigError(f"{action.dest} is '{shown(item)}': expected one of "
                              f"{', '.join(map(str, action.choices))}")
    return value


def options_of(command: str) -> dict[str, argparse.Action]:
    """The arguments of a command by their names in Python."""
    parser = Parser(command, add_help=False)
    _module(command).add_options(parser)
    return {action.dest: action for action in parser._actions}  # argparse has no seam here


def _module(command: str) -> ModuleType:
    return import_module(f'.{command.replace("-", "_")}', __name__)


def _summary(module: ModuleType) -> str:
    return module.__doc__.splitlines()[0].rstrip('.')


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell if it asked for completions and argcomplete is installed."""
    if '_ARGCOMPLETE' in os.environ:
        try:
            import argcomplete
        except ImportError:
            return
        argcomplete.autocomplete(parser)
