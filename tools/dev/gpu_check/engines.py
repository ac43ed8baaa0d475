"""Parts on TensorRT: an exported file becomes an engine, which is verified against PyTorch and timed.

TensorRT's wheels are larger than all others together, and don't travel with these: where it is not installed, that is
what a part says. Engines are strongly typed: they compute in the types that the file has.
"""
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from .benchmarks import small_config
from .stages import Place

WORKSPACE = 2**32  # bytes that TensorRT may take to try kernels
RUNS = 50  # that are timed
SMALL_RUNS = 2
MISSING = 'TensorRT is not installed: pip install tensorrt-cu13, for the CUDA of this PyTorch'


def engine(place: Place, kind: str, config: str, shape: tuple[int, int], half: bool = False) -> dict:
    """The engine of a config's model with random weights: what it gives beside PyTorch on pictures, and its time.

    Args:
        place: where; in a dry run onnxruntime takes the engine's place.
        kind: 'backbone', 'segmentor' or 'detector'.
        config: of the model.
        shape: height and width of the input.
        half: whether the file is of float16. Default: False.
    """
    if place.small:
        config, shape = str(small_config(place.folder, 'detector' if kind == 'detector' else 'segmentor')), (64, 64)
    elif find_spec('tensorrt') is None:
        return dict(passed=False, why=MISSING)
    from mmvision_mamba.export.verify import verification_images
    from mmvision_mamba.runtime.loaders import load_model
    from mmvision_mamba.runtime.standalone import Model
    path = _exported(place.folder, kind, config, shape, half)
    whole = load_model(path)
    runner = Engine(path, place.folder / 'model.engine') if place.device == 'cuda' else None
    session = whole.session if runner is None else runner.session(whole.session)
    model = Model(path, session=session)
    rows = []
    for seed, size in enumerate([shape, (shape[0] + 37, shape[1] + 90), (shape[0] // 2, shape[1])]):
        picture = verification_images(size, 1, seed)[0]
        rows += _compared(kind, whole, f'drawn, {size[0]} × {size[1]}', whole(picture), model(picture),
                          'float16' if half else 'float32')
    feed = _feed(whole, verification_images(shape, 1)[0])
    runs = SMALL_RUNS if place.small else RUNS
    ms = [1000 * seconds for seconds in _timed(session.run, feed, runs)] if runner is None else runner.times(feed, runs)
    passed = all(row.passed for row in rows)
    cells = [row.cells() for row in rows]
    facts = dict(engine_ms=statistics.median(ms), tensorrt=metadata.version('tensorrt') if runner else None,
                 build_seconds=runner and runner.build_seconds, engine_bytes=runner and runner.bytes)
    cells.append(['time', f'1 × {shape[0]} × {shape[1]}', f'{facts["engine_ms"]:.2f} ms', '',
                  'by TensorRT' if runner else 'by onnxruntime, on the CPU'])
    return dict(passed=passed, why='' if passed else 'the engine does not give what onnxruntime does', **facts,
                table=[['output', 'images', 'measured', 'bound', ''], cells])


def _exported(folder: Path, kind: str, config: str, shape: tuple[int, int], half: bool) -> Path:
    """The ONNX file of a config's model, with random weights, verified against PyTorch as all exports are."""
    from mmengine.registry import MODELS

    from mmvision_mamba.commands import call
    from mmvision_mamba.preflight.pretrained import drop_pretrained
    from mmvision_mamba.preflight.read import read_config
    cfg = read_config(config, None, ('model',))
    drop_pretrained(cfg.model)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if hasattr(model, 'decode_head'):
        torch.nn.init.normal_(model.decode_head.conv_seg.weight)  # classes differ clearly
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, path = folder / 'random.pth', folder / 'model.onnx'
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    call('export', config=config, checkpoint=str(checkpoint), part=kind, shape=shape, fp16=half, out=path)
    return path


class Engine:
    """An engine of an ONNX file, built on this GPU.

    Args:
        path: the ONNX file, of fixed sizes.
        out: where the engine is kept.

    Raises:
        RuntimeError: TensorRT takes no such graph, or can't build it; with what it says.
    """

    def __init__(self, path: Path, out: Path):
        import tensorrt as trt
        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(path)):
            raise RuntimeError('; '.join(str(parser.get_error(i)) for i in range(parser.num_errors)))
        settings = builder.create_builder_config()
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
        start = time.perf_counter()
        plan = builder.build_serialized_network(network, settings)
        if plan is None:
            raise RuntimeError('TensorRT built no engine; its log says why')
        self.build_seconds = time.perf_counter() - start
        out.write_bytes(plan)
        self.bytes = out.stat().st_size
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(out.read_bytes())
        self._context = self._engine.create_execution_context()
        self._names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._is_input = {name: self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in self._names}

    def session(self, like):
        """A `Session` that runs the engine, with the inputs, outputs and metadata of another one."""
        from mmvision_mamba.runtime.standalone import Session

        def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            tensors = self._placed(feed)
            self._execute()
            return [tensors[name].cpu().numpy() for name in like.outputs]
        return Session(run, like.inputs, like.outputs, like.metadata)

    def times(self, feed: dict[str, np.ndarray], runs: int) -> list[float]:
        """Milliseconds of runs on inputs that lie on the GPU, after as many that warm it up."""
        self._kept = self._placed(feed)
        found = []
        for _ in range(2 * runs):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self._execute(wait=False)
            end.record()
            torch.cuda.synchronize()
            found.append(start.elapsed_time(end))
        return found[runs:]

    def _placed(self, feed: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Tensors on the GPU for all inputs and outputs, which the engine is told of."""
        kinds = {'FLOAT': torch.float32, 'HALF': torch.float16, 'INT64': torch.int64, 'INT32': torch.int32,
                 'BOOL': torch.bool, 'UINT8': torch.uint8}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)).cuda() for name, value in feed.items()}
        for name, tensor in tensors.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
        for name in self._names:
            if not self._is_input[name]:
                kind = kinds[self._engine.get_tensor_dtype(name).name]
                tensors[name] = torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=kind, device='cuda')
            self._context.set_tensor_address(name, tensors[name].data_ptr())
        return tensors

    def _execute(self, wait: bool = True) -> None:
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError('TensorRT could not run the engine; its log says why')
        if wait:
            torch.cuda.synchronize()


def _feed(model, picture: np.ndarray) -> dict[str, np.ndarray]:
    """The graph's inputs for a picture, as the runtime prepares it."""
    feeds = []
    session, model.session = model.session, SimpleNamespace(
        **{**vars(model.session), 'run': lambda feed: feeds.append(feed) or session.run(feed)})
    try:
        model(picture)
    finally:
        model.session = session
    return feeds[0]


def _timed(run: Callable, feed: dict, runs: int) -> list[float]:
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run(feed)
        found.append(time.perf_counter() - start)
    return found


def _compared(kind: str, model, name: str, expected, found, precision: str) -> list:
    """The checks of the exporter, between two results for one picture."""
    from mmvision_mamba.export.agreement import SCORES, Agreement
    from mmvision_mamba.export.verify import compare_results
    if kind != 'detector':
        return compare_results(kind, model.session.outputs, name, expected, found, precision)
    agreement = Agreement(SCORES[precision])
    agreement.add(expected, found, 0., len(expected.scores))
    return agreement.rows(name, expected.masks is not None, precision)
