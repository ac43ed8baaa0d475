"""Checkpoint files: read without running code, written so that a crash loses nothing, chosen to resume from."""

_enforced = False


def enforce_safe_reading() -> None:
    """Let mmengine, too, read checkpoints without running code from them, in this process and from now on.

    Runner, Inferencer and commands of this package call it. A process that only takes the backbone from here does not:
    there mmengine reads as it always does, see `mmengine_loader`.
    """
    global _enforced
    _enforced = True


def safe_reading_enforced() -> bool:
    """Whether `enforce_safe_reading` was called."""
    return _enforced
