"""Steps that commands share. They import mmengine, so commands import them inside `run`, to keep --help fast."""
