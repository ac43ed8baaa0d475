"""Models in their best settings beside peers in theirs."""
from mmvision_mamba.benchmark.best import best_columns


def row(model, amp, ms, *variant, peer=False, training_ms=None, group='work'):
    training = {} if training_ms is None else dict(training=dict(median_ms=training_ms))
    return dict(group=group, options=dict(model=model, amp=amp, variant=list(variant), peer=peer),
                forward=dict(median_ms=ms), **training)


def test_the_fastest_of_each_are_compared_within_a_precision_and_phase():
    titles, cells = best_columns([
        row('tiny', 'none', 10, training_ms=40), row('tiny', 'none', 8, 'fuse'), row('tiny', 'bf16', 3, 'compile'),
        row('a', 'none', 20, peer=True, training_ms=50), row('a', 'none', 16, 'channels_last', 'compile', peer=True),
        row('a', 'bf16', 12, peer=True), row('b', 'none', 4, peer=True), row('tiny', 'none', 7, group='other')])
    assert titles == ['work', 'model', 'precision', 'phase', 'its best', 'beside a', 'beside b']
    assert cells == [
        ['work', 'tiny', 'float32', 'forward', '8.00 ms (fuse)', '0.50 of 16.0 ms (channels last, compile)',
         '2.00 of 4.00 ms (plain)'],
        ['work', 'tiny', 'float32', 'training step', '40.0 ms (plain)', '0.80 of 50.0 ms (plain)', ''],
        ['work', 'tiny', 'bfloat16', 'forward', '3.00 ms (compile)', '0.25 of 12.0 ms (plain)', ''],
        ['other', 'tiny', 'float32', 'forward', '7.00 ms (plain)', '', '']]


def test_without_a_peer_there_is_no_table():
    assert best_columns([row('tiny', 'none', 10)]) is None
    assert best_columns([dict(group='work', options={}, forward=dict(median_ms=1))]) is None  # of an earlier version
