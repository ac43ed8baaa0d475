"""Servers on this machine that answer whatever a test says."""
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

HEAD = b'HTTP/1.1 200 OK\r\n'


@contextlib.contextmanager
def answering(answer: bytes | Callable[[socket.socket], object]) -> Iterator[str]:
    """Yields the URL of a server that reads a request and then sends bytes, or calls a function with the connection."""
    server = socket.create_server(('127.0.0.1', 0))

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(2**16)
            connection.sendall(answer) if isinstance(answer, bytes) else answer(connection)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.getsockname()[1]}'
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def content(body: bytes, *headers: str) -> bytes:
    """A whole answer."""
    return HEAD + ''.join(f'{h}\r\n' for h in (f'Content-Length: {len(body)}', *headers)).encode() + b'\r\n' + body


def redirect(target: str) -> bytes:
    return f'HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n'.encode()


def forever(start: bytes, rest: bytes, pause: float = 0) -> Callable[[socket.socket], None]:
    """Sends `start`, then `rest` again and again, with `pause` seconds between."""
    import time

    def answer(connection):
        connection.sendall(start)
        while True:
            connection.sendall(rest)
            time.sleep(pause)
    return answer
