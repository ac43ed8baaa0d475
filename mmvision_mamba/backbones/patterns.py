"""Which blocks of stages 3 and 4 are mixers and which are self-attention (arXiv 2407.08083, section 5)."""
import math
import random
from collections.abc import Sequence

from ..errors import ConfigError
from ..text import did_you_mean


def _attention_last(mixers: int, depth: int, rng: random.Random) -> str:
    return 'M' * mixers + 'S' * (depth - mixers)


def _attention_first(mixers: int, depth: int, rng: random.Random) -> str:
    return 'S' * (depth - mixers) + 'M' * mixers


def _alternate(mixers: int, depth: int, rng: random.Random) -> str:
    """In turns, a mixer first, as long as there are both."""
    turns = min(mixers, depth - mixers)
    return 'MS' * turns + 'M' * (mixers - turns) + 'S' * (depth - mixers - turns)


def _random(mixers: int, depth: int, rng: random.Random) -> str:
    places = rng.sample(range(depth), mixers)
    return ''.join('M' if i in places else 'S' for i in range(depth))


PATTERNS = dict(attention_last=_attention_last, attention_first=_attention_first, alternate=_alternate, random=_random)


def hybrid_patterns(pattern: str | Sequence[str], ratio: float | None, seed: int, depths: Sequence[int]) -> list[str]:
    """Which blocks of stages 3 and 4 are mixers, M, and which self-attention, S: a letter per block.

    Args:
        pattern: a name in `PATTERNS`, or the letters; one for both stages or one each.
        ratio: share of each stage's blocks that are mixers, rounded up. None: a half.
        seed: random seed of the pattern 'random'.
        depths: numbers of blocks of stages 3 and 4.

    Raises:
        ConfigError: an unknown name, another letter, a wrong number of letters, a ratio outside [0, 1] or beside
            letters, which say it themselves.
    """
    pair = (pattern, pattern) if isinstance(pattern, str) else tuple(pattern)
    if len(pair) != 2:
        raise ConfigError(f'pattern must be a string, or two, for stages 3 and 4, got {pattern!r}')
    if ratio is not None and not 0 <= ratio <= 1:
        raise ConfigError(f'mixer_ratio must be in [0, 1], got {ratio!r}')
    patterns = []
    for stage, name, depth in zip((3, 4), pair, depths):
        example = _attention_last(math.ceil(depth / 2), depth, random.Random())
        if name in PATTERNS:
            mixers = math.ceil(round(depth * (0.5 if ratio is None else ratio), 6))  # 0.7 · 10 is a little over 7
            patterns.append(PATTERNS[name](mixers, depth, random.Random(f'{seed} {stage}')))
        elif not isinstance(name, str) or set(name) - set('MS'):
            raise ConfigError(f'pattern {name!r}: expected one of {", ".join(PATTERNS)}{did_you_mean(name, PATTERNS)}, '
                              f'or letters, M for a MambaVision mixer and S for self-attention, such as {example!r}')
        elif len(name) != depth:
            raise ConfigError(f'pattern {name!r} has {len(name)} letters, but stage {stage} has {depth} blocks: give '
                              f'one string for each of the two stages, here of {depth} letters, such as {example!r}')
        elif ratio is not None:
            raise ConfigError(f'mixer_ratio={ratio} does not go with the pattern {name!r}, whose letters say which '
                              'blocks are mixers: leave out one of them')
        else:
            patterns.append(name)
    return patterns
