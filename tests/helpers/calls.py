"""Pickles that call a function when they are read."""


class Calls:
    """Pickled: a call of `function` with `args`; with a state, that is set on what it returns."""

    def __init__(self, function, *args, state=None):
        self.call = function, args, state

    def __reduce__(self):
        function, args, state = self.call
        return (function, args) if state is None else (function, args, state)
