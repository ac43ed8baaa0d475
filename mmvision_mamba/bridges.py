"""What OpenMMLab's last releases get wrong beside newer packages, put right after their import.

=====================  ================  ===========================================  ==============================
function               is for            why                                          not needed
=====================  ================  ===========================================  ==============================
`without_setuptools`   mmengine 0.10.7   asks pkg_resources for `_base_` of another   setuptools before 81; its fork
                                         package's configs; setuptools 81 dropped it
`without_multimodal`   mmpretrain 1.2    its multimodal models, and with them all of  transformers 4
                                         it and mmdet, fail beside transformers 5
=====================  ================  ===========================================  ==============================

How checkpoints are read is a matter of its own: `checkpoints.mmengine_loader`. Where this package itself does otherwise
for an old torch or timm, a comment there names the version.
"""
import os
import sys
from importlib.util import find_spec


def after_mmengine() -> None:
    """Bridge mmengine, which is imported; importing it is left to others."""
    if find_spec('pkg_resources') is None:
        without_setuptools()


def without_setuptools() -> None:
    """Give mmengine `is_installed` and `get_installed_path` that ask Python itself what is installed."""
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] == 'mmengine' and module is not None:
            for function in (is_installed, get_installed_path):
                if function.__name__ in vars(module):
                    setattr(module, function.__name__, function)


def without_multimodal() -> None:
    """Let mmpretrain go on as if transformers were not installed; `mmpretrain.utils.dependency` is imported."""
    from importlib.metadata import version  # inside functions alone: it brings twenty modules
    dependency = sys.modules['mmpretrain.utils.dependency']
    if dependency.WITH_MULTIMODAL and int(version('transformers').partition('.')[0]) >= 5:
        dependency.WITH_MULTIMODAL = False  # type: ignore[attr-defined]


def is_installed(package: str) -> bool:
    """Whether there is a distribution or a module of that name."""
    from importlib.metadata import PackageNotFoundError
    try:
        get_installed_path(package)
    except (PackageNotFoundError, RuntimeError):
        return False
    return True


def get_installed_path(package: str) -> str:
    """Folder of a module, given its name or that of its distribution ('mmsegmentation' for mmseg).

    Raises:
        PackageNotFoundError: there is neither.
        RuntimeError: it has no folder of its own: a namespace package, or a distribution that names no module.
    """
    from importlib.metadata import Distribution
    module = package if find_spec(package) else Distribution.from_name(package).read_text('top_level.txt') or ''
    spec = find_spec(module.split('\n')[0] or package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f'{package} has no folder of its own')
    return os.path.dirname(spec.origin)
