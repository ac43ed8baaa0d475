"""The error for what no checkpoint may hold."""


class Refused(Exception):
    """What a checkpoint may not hold; the message is a phrase.

    Args:
        what: the phrase.
        way_out: a sentence. Default: to ask for a file of weights alone.
    """

    def __init__(self, what: str,
                 way_out: str = 'Ask its author for a file of weights alone, dense and of real numbers.'):
        super().__init__(what)
        self.way_out = way_out
