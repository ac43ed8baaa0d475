"""What is installed around this package, and what the failure of an import says about it. Imports none of it."""
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from .errors import MissingExtraError, UserError

# Module -> the distributions that provide it. All but one of each are alternatives that overwrite each other's files.
DISTRIBUTIONS = dict(
    mmengine=('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    mmcv=('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv'),
    mmdet=('mmdet', 'onedl-mmdetection'),
    mmseg=('mmsegmentation', 'onedl-mmsegmentation'),
    mmpretrain=('mmpretrain', 'onedl-mmpretrain'))
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg')
REQUIRED = ('torch', 'torchvision', 'timm', 'numpy', 'safetensors', 'huggingface_hub')  # without any extra
# Module -> the extra that brings it; of modules that come along with OpenMMLab, the distribution.
EXTRAS = dict(gradio='app', onnx='export', onnxruntime='export', onnxscript='export', onnxslim='export', ray='ray',
              transformers='transformers',
              pyarrow='ray', pandas='ray')
BESIDE_OPENMMLAB = dict(cv2='opencv-python', **{name: name for name in (
    'addict', 'ftfy', 'matplotlib', 'prettytable', 'pycocotools', 'regex', 'rich', 'scipy', 'shapely', 'termcolor',
    'terminaltables', 'yapf')})
MMCV_LITE = "pip install 'mmcv-lite>=2.1,<2.2'"
MMENGINE = "pip install 'mmengine>=0.10.7,<0.11'"
WITHOUT_PARTS = 'mmvision_mamba goes on without its parts for'  # begins the warning of a library that is broken
EXTENSION_FILE = '_ext.py'  # of `mmvision-mamba setup-mmcv`, in mmcv's folder


class InstallationError(UserError, ImportError):
    """Installed packages that can't be used together, or at all. The message ends with the command that mends it."""


def spec_of(module: str) -> ModuleSpec | None:
    """Where a module would be imported from; None where it can't be found, or was made up in this process."""
    if module in sys.modules and getattr(sys.modules[module], '__spec__', None) is None:
        return None
    return find_spec(module)


def installed(module: str) -> bool:
    """Whether a top-level module can be found; a folder without an `__init__.py` doesn't count."""
    return getattr(spec_of(module), 'origin', None) is not None


def distributions(module: str) -> dict[str, str]:
    """Distribution -> version of those installed that provide `module`."""
    from importlib.metadata import PackageNotFoundError, version  # not at once: brings fifty modules
    found = {}
    for name in DISTRIBUTIONS.get(module, (module,)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def folder(module: str) -> Path | None:
    """The folder that Python takes `module` from, also where it is but a folder; None where there is none."""
    spec = spec_of(module)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]) if places else None


def compiled_operators() -> Path | None:
    """The compiled `mmcv._ext`; None where mmcv has none."""
    place = folder('mmcv')
    files = [place / f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES] if place else []
    return next((file for file in files if file.is_file()), None)


def mmcv_problem() -> str | None:
    """What is wrong with the files of mmcv, and the command that mends it; None where nothing shows."""
    found, place = distributions('mmcv'), folder('mmcv')
    if len(found) > 1:
        return (f'{" and ".join(f"{name} {of}" for name, of in found.items())} are both installed, and overwrite each '
                f"other's files in {place}.\n{with_mmcv_lite()}")
    if place is not None and not installed('mmcv'):
        return (f'{place} has no __init__.py: it is what is left of an mmcv, or another folder of that name.\n'
                f'Remove it, then: {_again(found, MMCV_LITE)}')
    if place is None and found:
        return f'{_named(found)} is installed without its files.\n{_again(found, MMCV_LITE)}'
    if place is not None and found:
        written = re.search(r"__version__ = '([^']+)'", _text(place / 'version.py'))
        if written and written[1] != next(iter(found.values())).partition('+')[0]:
            return (f'{_named(found)} is installed, and {place} holds files of {written[1]}.\n'
                    f'{_again(found, MMCV_LITE)}')
    return None


def with_mmcv_lite() -> str:
    """The command that puts mmcv-lite in the place of the mmcv that is installed."""
    return f'pip uninstall -y {" ".join(distributions("mmcv")) or "mmcv"} && {MMCV_LITE}'


def explain(error: BaseException) -> str:
    """What `problem` says of `error`, else its type and the first line of its message."""
    if isinstance(error, UserError):
        return str(error)
    return str(problem(error) or f'{type(error).__name__}: {_first_line(error)}')


def problem(error: BaseException, what: str = 'this') -> UserError | None:
    """What to raise for an import that fails for what is installed; None for any other error.

    Args:
        error: what the import raised, or an ImportError raised because of that.
        what: what needs the import, the subject of a sentence.
    """
    for cause in _causes(error):
        if (broken := _broken(cause)) is not None:
            return InstallationError(broken)
        if isinstance(cause, ModuleNotFoundError) and (missing := _missing(cause)) is not None:
            module = missing.partition('.')[0]
            alone = module in REQUIRED or (module in ('mmdet', 'mmseg') and installed('mmengine') and installed('mmcv'))
            if alone and not installed(module):
                who = 'mmvision_mamba' if what == 'this' else what
                return MissingExtraError(f'{module} is not installed, which {who} needs.\n{install_command(module)}')
            if module in OPENMMLAB and not installed(module):
                return MissingExtraError(what, 'openmmlab')
            # Only of these: what a user's own code lacks is another matter.
            importer = _where(cause)
            if importer in ('mmvision_mamba', *OPENMMLAB) and not installed(module):
                if module in EXTRAS:
                    return MissingExtraError(what, EXTRAS[module])
                if module in BESIDE_OPENMMLAB and not (installed('mmengine') and installed('mmcv')):
                    return MissingExtraError(what, 'openmmlab')
                if module in BESIDE_OPENMMLAB:
                    return MissingExtraError(f'{module} is not installed, which {importer} needs.\n'
                                             f'pip install {BESIDE_OPENMMLAB[module]}')
    return None


@contextmanager
def explaining(what: str = 'this') -> Iterator[None]:
    """Raise what `problem` makes of an error instead of that, where it knows what is behind it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a broken installation's need not be an ImportError
        if (known := problem(error, what)) is None:
            raise
        raise known from error


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """For imports of packages of `extra` that `what` needs: tells apart those not installed from those that are broken.

    Raises:
        MissingExtraError: not installed.
        InstallationError: installed, and can't be imported.
    """
    try:
        with explaining(what):
            yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(what, extra) from error
    except ImportError as error:
        if isinstance(error, UserError):
            raise
        raise InstallationError(f"{what} can't be used: {explain(error)}\n"
                                'mmvision-mamba doctor shows what is installed') from error


def openmmlab_problem(what: str) -> UserError | None:
    """The error to raise where `what` needs mmengine and mmcv, and one is not installed, or mmcv but in parts."""
    if (found := mmcv_problem()) is not None:
        return InstallationError(found)
    return None if installed('mmengine') and installed('mmcv') else MissingExtraError(what, 'openmmlab')


def torchvision_command(torch: str) -> str:
    """The command that installs the torchvision for a version of torch: 0.15 was for 2.0, and so on, one by one."""
    if not (number := re.match(r'2\.(\d+)', torch)):
        return 'pip install --upgrade torch torchvision'
    label = torch.partition('+')[2]
    index = f' --index-url https://download.pytorch.org/whl/{label}' if re.fullmatch(r'cpu|cu\d+|xpu', label) else ''
    return f"pip install --force-reinstall --no-deps 'torchvision==0.{int(number[1]) + 15}.*'{index}"


def install_command(module: str) -> str:
    """The command that installs one of `REQUIRED` or of the toolboxes, in a version that this package takes."""
    if module == 'torchvision' and distributions('torch'):
        return torchvision_command(_version('torch'))
    name = module
    if module in DISTRIBUTIONS:
        forks = any(found.startswith('onedl') for found in distributions('mmengine'))
        name = DISTRIBUTIONS[module][-1 if forks else 0]
    from importlib import metadata
    try:
        requirements = metadata.requires('mmvision-mamba') or []
    except metadata.PackageNotFoundError:  # run from its checkout
        requirements = []
    ours = re.compile(rf'{name}(?![\w.-])[^;]*')
    wanted = next((match[0].strip() for match in map(ours.match, requirements) if match), name)
    return f"pip install '{wanted}'"


def _broken(error: BaseException) -> str | None:
    """In a line or two, what of the installed packages is broken and what mends it; None where `error` isn't of that.
    """
    text = str(error)
    if isinstance(error, AssertionError) and 'is used but incompatible' in text:
        if (found := mmcv_problem()) is not None:
            return found
        name, _, number = text.split()[0].partition('==')
        return (f'{name.lower()} {number} is installed, which {_where(error) or "the toolbox"} does not take.\n'
                f'{MMENGINE if name.lower() == "mmengine" else MMCV_LITE}')
    if 'torchvision' in text and ('does not exist' in text or "Couldn't load custom C++ ops" in text
                                  or 'partially initialized' in text):
        torch = _version('torch')
        return (f'torchvision {_version("torchvision")} is not made for torch {torch} ({_first_line(error)}).\n'
                f'{torchvision_command(torch)}')
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if error.name.partition('.')[0] in OPENMMLAB and (found := mmcv_problem()) is not None:
            return found
        if error.name == 'mmcv._ext':
            return ('mmcv-lite has no operators. Import mmvision_mamba before them, which has them in PyTorch, or, for '
                    'programs that do not: mmvision-mamba setup-mmcv')
        module = error.name.partition('.')[0]
        if module != error.name and module == _where(error) and (there := distributions(module)):
            return f'{_named(there)} is installed in parts: {error.name} is missing.\n{_again(there, module)}'
    if isinstance(error, AttributeError) and "module 'mmcv' has no attribute" in text:
        return mmcv_problem()
    if isinstance(error, ImportError) and Path(error.path or text.partition(':')[0]).name.startswith('_ext.'):
        return (f'mmcv is compiled for another torch than {_version("torch")} ({_first_line(error)}).\n'
                f'{with_mmcv_lite()}')
    return None


def _missing(error: ModuleNotFoundError) -> str | None:
    """The module that was not found; mmengine, for the `_base_` of a config in another package, names it in words."""
    if error.name is not None:
        return error.name
    said = re.match(r'([\w-]+) is not installed, please install', str(error))
    return said and next((module for module, names in DISTRIBUTIONS.items() if said[1] in names), said[1])


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it comes from; what it merely followed counts for an ImportError alone."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or (cause.__context__ if isinstance(cause, ImportError) else None)


def _where(error: BaseException) -> str | None:
    """The top-level package that raised `error`."""
    name, trace = None, error.__traceback__
    while trace is not None:
        name, trace = trace.tb_frame.f_globals.get('__name__'), trace.tb_next
    return name and name.partition('.')[0]


def _again(found: dict[str, str], otherwise: str) -> str:
    """The command that installs what is `found` once more."""
    if not found:
        return otherwise
    name, number = next(iter(found.items()))
    return f'pip install --force-reinstall --no-deps {name}=={number}'


def _named(found: dict[str, str]) -> str:
    return ' '.join(next(iter(found.items())))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition('\n')[0].rstrip(':. ')


def _text(file: Path) -> str:
    return file.read_text(errors='replace') if file.is_file() else ''


def _version(name: str) -> str:
    return next(iter(distributions(name).values()), '(not installed)')
