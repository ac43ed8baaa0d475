"""What each call of an Inferencer has to report, apart from that of other calls, in other threads or between."""
import threading
from dataclasses import dataclass, field

from .failures import NO_MEMORY, free_memory
from .sources import Source


@dataclass
class Call:
    """One call's number of inputs, its failures as (name, reason), and the lines that say what its results mean."""
    number: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def record_failure(self, source: Source, reason: str) -> None:
        if reason == NO_MEMORY:
            free_memory()
        if not source.is_video or (source.name, reason) not in self.failures:  # not for each of a video's frames
            self.failures.append((source.name, reason))


class Calls:
    """The calls of one Inferencer."""

    def __init__(self) -> None:
        self._of_thread, self._latest = threading.local(), Call()

    def begin(self, number: int) -> Call:
        """A new call, of so many inputs."""
        self._of_thread.call = self._latest = Call(number)
        return self._latest

    @property
    def last(self) -> Call:
        """The last call of this thread; in a thread without any, such as one that waits for the others, of all."""
        return getattr(self._of_thread, 'call', self._latest)
