"""The table of MambaVision's best setting beside the best one of each peer, in each precision."""
from .report import PHASES, number

PRECISIONS = dict(none='float32', bf16='bfloat16', fp16='float16')


def best_columns(rows: list[dict]) -> tuple[list[str], list[list[str]]] | None:
    """Titles and cells: a line per work, model, precision and phase, and a column per peer. None: no peer was measured.

    A model's best setting is that with the shortest median. A peer's cell has the model's time over the peer's, the
    peer's time and the variant that it was best in. Whole models are compared with those of the same config.
    """
    best = {}
    for row in rows:
        options = row['options']
        for phase in PHASES:
            if 'model' not in options or phase not in row:
                continue
            work = row['group'], options.get('config'), options['amp'], phase
            models = best.setdefault(work, {})
            fastest = models.get(options['model'])
            if fastest is None or row[phase]['median_ms'] < fastest[phase]['median_ms']:
                models[options['model']] = row
    peers = list(dict.fromkeys(row['options']['model'] for row in rows if row['options'].get('peer')))
    if not peers:
        return None
    cells = []
    for (group, _, amp, phase), models in best.items():
        for name, row in models.items():
            if not row['options']['peer']:
                cells.append([group, name, PRECISIONS[amp], PHASES[phase], _time(row, phase), *(
                    _beside(row, models.get(peer), phase) for peer in peers)])
    return ['work', 'model', 'precision', 'phase', 'its best', *(f'beside {peer}' for peer in peers)], cells


def _beside(row: dict, peer: dict | None, phase: str) -> str:
    if peer is None:  # it failed
        return ''
    return f'{row[phase]["median_ms"] / peer[phase]["median_ms"]:.2f} of {_time(peer, phase)}'


def _time(row: dict, phase: str) -> str:
    variant = ', '.join(part.replace('_', ' ') for part in row['options']['variant']) or 'plain'
    return f'{number(row[phase]["median_ms"])} ms ({variant})'
