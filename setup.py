"""Packaging of mmvision-mamba. Pinned, proven versions of the stack are in requirements/."""
import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r"__version__ = '([^']+)'", (here / 'mmvision_mamba/version.py').read_text()).group(1)

setup(
    name='mmvision-mamba',
    version=version,
    description='MambaVision for dense prediction: an OpenMMLab backbone, its scans, recipes and tools',
    long_description=(here / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmvision_mamba', 'mmvision_mamba.*']),
    package_data={'mmvision_mamba': ['py.typed']},
    entry_points={'console_scripts': ['mmvision-mamba = mmvision_mamba.commands:main']},
    install_requires=['torch>=2.4', 'timm>=1.0'],
    # Two families of distributions provide the modules mmengine, mmcv, mmdet and mmseg: choose one, never both.
    extras_require={
        'openmmlab': ['mmengine>=0.10.7', 'mmcv-lite>=2.1,<2.2', 'mmdet>=3.3', 'mmsegmentation>=1.2.2', 'ftfy', 'regex',
                      'setuptools<81'],
        'onedl': ['onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6', 'onedl-mmdetection>=3.5.1',
                  'onedl-mmsegmentation>=1.4.2', 'ftfy', 'regex'],
        'mamba': ['mamba-ssm>=2.2'],
        'app': ['gradio>=6'],
        'completion': ['argcomplete'],
        'docs': ['mkdocs-material'],
        'export': ['onnx>=1.17', 'onnxruntime>=1.20', 'onnxscript', 'onnxslim'],
        'ray': ['ray[data]>=2.40', 'pyarrow', 'pandas'],
        'vis': ['tensorboard', 'wandb'],
        'dev': ['pytest', 'pytest-timeout', 'pytest-xdist', 'hypothesis', 'ruff', 'import-linter', 'mypy', 'psutil',
                'atheris', 'pip-audit', 'selenium', 'argcomplete'],
    },
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
