"""Compile every Triton kernel for several GPUs, without one, and report what each needs of a multiprocessor.

    python tools/dev/compile_report.py [--kernels NAME …] [--variants LABEL …] [--targets 80 90 100] [--out report.json]

Prints kernel, variant, target, registers per thread, spilled bytes and shared memory. Exit code 1 when a kernel spills
or doesn't compile. A module of kernels takes part by listing its variants in a function `compile_variants()`, named in
MODULES.
"""
import argparse
import contextlib
import importlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path

MODULES = ['mmvision_mamba.ops.triton_scan', 'mmvision_mamba.ops.triton_conv']
TARGETS = (80, 90, 100)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--kernels', nargs='+', metavar='NAME', help='default: all')
    parser.add_argument('--variants', nargs='+', metavar='LABEL', help='default: all')
    parser.add_argument('--targets', nargs='+', type=int, default=TARGETS, metavar='SM',
                        help='compute capabilities times ten; default: 80 90 100')
    parser.add_argument('--out', type=Path, help='.json file for the results')
    return parser.parse_args()


def variants(kernels=None, labels=None):
    """(kernel, label, signature, constants, options) of every variant of every listed module."""
    for module in MODULES:
        for variant in importlib.import_module(module).compile_variants():
            if variant[0].__name__ in (kernels or [variant[0].__name__]) and variant[1] in (labels or [variant[1]]):
                yield variant


def measure(kernel, signature, constants, options, target):
    """Registers, spilled bytes and shared memory of one variant, from the log of ptxas."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    constants = {name: constants.get(name) for name in kernel.arg_names if name not in signature}
    source = ASTSource(fn=kernel, constexprs=constants,
                       signature={name: signature.get(name, 'constexpr') for name in kernel.arg_names})
    with contextlib.redirect_stdout(io.StringIO()) as log:
        compiled = compile(source, target=GPUTarget('cuda', target, 32), options=options)
    spills = re.findall(r'(\d+) bytes spill', log.getvalue())
    return dict(registers=int(re.search(r'Used (\d+) registers', log.getvalue()).group(1)),
                spilled=sum(map(int, spills)), shared=compiled.metadata.shared)


def main():
    args = parse_args()
    if os.environ.get('TRITON_INTERPRET', '0') not in ('', '0'):
        sys.exit('compile_report: unset TRITON_INTERPRET, under which nothing is compiled')
    with tempfile.TemporaryDirectory() as folder:
        # With a cached result the assembler would not run, and leave no log to read.
        os.environ.update(TRITON_DUMP_PTXAS_LOG='1', TRITON_CACHE_DIR=folder)
        results = list(report(args))
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + '\n')
    if not results:
        sys.exit('compile_report: no kernel, or no variant of it, has that name')
    sys.exit(int(any('error' in row or row['spilled'] for row in results)))


def report(args):
    from triton.errors import TritonError

    print(f'{"kernel":16}{"variant":34}{"target":>8}{"registers":>11}{"spilled":>9}{"shared":>8}')
    for kernel, label, signature, constants, options in variants(args.kernels, args.variants):
        for target in args.targets:
            row = dict(kernel=kernel.__name__, variant=label, target=f'sm_{target}')
            try:
                row.update(measure(kernel, signature, constants, options, target))
                figures = f'{row["registers"]:>11}{row["spilled"]:>9}{row["shared"]:>8}'
            except TritonError as error:
                row['error'] = figures = f'  {type(error).__name__}: {error} {error.__cause__ or ""}'
            print(f'{row["kernel"]:16}{label:34}{row["target"]:>8}{figures}', flush=True)
            yield row


if __name__ == '__main__':
    main()
