"""What it means that a detector finds nothing, where mmdet says that its results are empty."""
import logging
from collections.abc import Iterator


class ExplainEmptyResults(logging.Filter):
    """Makes mmdet's line of empty results say what they mean and what to do; other lines pass as they are.

    Args:
        runner: whose logger it is for.
    """

    def __init__(self, runner):
        super().__init__()
        self.runner = runner

    def filter(self, record: logging.LogRecord) -> bool:
        if 'results of the whole dataset is empty' in str(record.msg):
            record.msg, record.args = explanation(self.runner.cfg.get('model') or {}, self.runner.iter), ()
        return True


def explanation(model: dict, iteration: int) -> str:
    """The message: what an empty result means for this model.

    Args:
        model: its config.
        iteration: of the training, 0 in a test.
    """
    threshold = next(_thresholds(model, 'model'), None)
    above = f' with a score above {threshold[0]} = {threshold[1]:g}' if threshold else ''
    when = f'; this is iteration {iteration}' if iteration else ''
    low = f', or set {threshold[0]}=0 with --cfg-options to see its low scores' if threshold else ''
    return (f'No image has a single detection{above}, so there is no AP and no best checkpoint.\n'
            f'That is normal in the first few hundred iterations of a training{when}. Later the model has learnt '
            f'nothing: look at its loss and learning rate, at the data (mmvision-mamba check-dataset, browse-dataset)'
            f'{low}.')


def _thresholds(value: object, where: str) -> Iterator[tuple[str, float]]:
    """(place in the config, value) of the score thresholds in `test_cfg`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == 'score_thr' and '.test_cfg' in where and isinstance(item, int | float):
                yield f'{where}.{key}', item
            elif key != 'train_cfg':
                yield from _thresholds(item, f'{where}.{key}')
