"""Clients that ask a server at once, and what became of each request.

    python -m tests.serving.load http://127.0.0.1:8000/predict photo.jpg --clients 8 --seconds 20
"""
import argparse
import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Outcome:
    """What became of requests: a status, or the kind of error where there was no answer; seconds of those with 200."""
    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def describe(self, wall: float) -> str:
        ordered = sorted(self.seconds) or [0.]
        median, late = (ordered[int(share * (len(ordered) - 1))] for share in (.5, .99))
        counts = ', '.join(f'{status}: {number}' for status, number in sorted(self.statuses.items(), key=str))
        return f'{counts}; {len(self.seconds) / wall:.2f} answers/s, median {median:.3f} s, 99% {late:.3f} s'


def ask(url: str, content: bytes, timeout: float = 120) -> tuple[int, bytes]:
    """The status and the body of one request."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request('POST', f'{parts.path}?{parts.query}', content)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Load:
    """Clients in threads, each of which asks again as soon as it is answered, until `stop`."""

    def __init__(self, url: str, content: bytes, clients: int):
        self.outcome, self._lock, self._stopped = Outcome(), threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(url, content), daemon=True)
                         for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self) -> Outcome:
        """Ask no more; all that were asked are answered."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return self.outcome

    def _client(self, url: str, content: bytes) -> None:
        while not self._stopped.is_set():
            start = time.monotonic()
            try:
                status = ask(url, content)[0]
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            with self._lock:
                self.outcome.statuses[status] += 1
                if status == 200:
                    self.outcome.seconds.append(time.monotonic() - start)
            if status == 429:
                time.sleep(.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('url')
    parser.add_argument('image', type=Path)
    parser.add_argument('--clients', type=int, default=8)
    parser.add_argument('--seconds', type=float, default=20)
    args = parser.parse_args()
    start = time.monotonic()
    with Load(args.url, args.image.read_bytes(), args.clients) as load:
        time.sleep(args.seconds)
        outcome = load.stop()
    print(outcome.describe(time.monotonic() - start))


if __name__ == '__main__':
    main()
