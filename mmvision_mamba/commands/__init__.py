"""The commands of `mmvision-mamba`: one file each, with its options and its run.

A command's module has a docstring, whose first line is its summary, `add_options(parser)` and `run(args)`, which
returns the exit code or None for 0. Nothing heavy is imported before `run`: help and completion answer at once.
"""
import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from ..checkpoints import enforce_safe_reading
from ..limits import limit_opencv
from ..printable import shown
from ..text import did_you_mean
from ..version import __version__
from .errors import closed_output, printable_output, user_errors

# In the order of the help.
COMMANDS = ('train', 'test', 'infer', 'export', 'check-dataset', 'browse-dataset', 'split-dataset',
            'repair-annotations', 'make-shapes', 'plot-curves', 'confusion', 'attention-maps', 'model-info',
            'batch-infer', 'benchmark', 'ablate', 'demo', 'demo-app', 'config', 'models', 'publish', 'doctor',
            'setup-mmcv')


class Parser(argparse.ArgumentParser):
    """A parser whose errors are printable and bounded, whatever the arguments were."""

    def error(self, message: str) -> NoReturn:
        super().error(shown(message, 2000))


def main(command: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        command: one of `COMMANDS`, for the scripts in tools/. None: the first argument names it.
        argv: the arguments. Default: those of the process.
    """
    with closed_output():
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
    printable_output()
    with user_errors():
        args = parser.parse_args(argv)
        check_outputs(args)
        use_published(args)
        return module.run(args) or 0


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
