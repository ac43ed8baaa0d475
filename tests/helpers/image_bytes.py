"""Images of many kinds as the bytes of their files."""
import io

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 45, 64


def pixels() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    return (np.stack([3 * x, 4 * y, 2 * (x + y)], -1) + noise).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def exif(image: Image.Image) -> bytes:
    """An EXIF block with a rotation and an embedded JPEG thumbnail, laid out by hand: Pillow writes no thumbnails."""
    thumbnail = encoded(image.resize((16, 12)), 'JPEG')

    def entry(tag, kind, value):
        raw = value.to_bytes(2, 'little') + b'\0\0' if kind == 3 else value.to_bytes(4, 'little')
        return tag.to_bytes(2, 'little') + kind.to_bytes(2, 'little') + (1).to_bytes(4, 'little') + raw

    first = (1).to_bytes(2, 'little') + entry(0x0112, 3, 6) + (26).to_bytes(4, 'little')  # at 8, 18 bytes long
    at = 26 + 2 + 2 * 12 + 4
    second = (2).to_bytes(2, 'little') + entry(0x0201, 4, at) + entry(0x0202, 4, len(thumbnail)) + bytes(4)
    return b'Exif\0\0II*\0\x08\0\0\0' + first + second + thumbnail


def turned(orientation: int = 6, head: bytes = b'II*\0') -> bytes:
    """An EXIF block that turns a picture, and nothing else; Pillow takes the heads b'II\\0*' and b'MM*\\0' too."""
    order = 'little' if head[:1] == b'I' else 'big'
    numbers = (8, 4), (1, 2), (0x0112, 2), (3, 2), (1, 4), (orientation, 2), (0, 2), (0, 4)
    return b'Exif\0\0' + head + b''.join(value.to_bytes(size, order) for value, size in numbers)


RGB = Image.fromarray(pixels())
GREY = RGB.convert('L')
GOOD = {
    'jpeg': encoded(RGB, 'JPEG'),
    'jpeg progressive': encoded(RGB, 'JPEG', progressive=True),
    'jpeg grey': encoded(GREY, 'JPEG'),
    'jpeg cmyk': encoded(RGB.convert('CMYK'), 'JPEG'),
    'jpeg exif thumbnail': encoded(RGB, 'JPEG', exif=exif(RGB)),
    'png': encoded(RGB, 'PNG'),
    'png grey': encoded(GREY, 'PNG'),
    'png palette': encoded(RGB.quantize(16), 'PNG'),
    'png alpha': encoded(RGB.convert('RGBA'), 'PNG'),
    'png 16 bit': encoded(Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)), 'PNG'),
    'png 1 bit': encoded(GREY.convert('1'), 'PNG'),
    'png 1 x 1': encoded(RGB.resize((1, 1)), 'PNG'),
    'bmp': encoded(RGB, 'BMP'),
    'gif animated': encoded(RGB.quantize(16), 'GIF', save_all=True, append_images=[GREY.quantize(8)]),
    'webp': encoded(RGB, 'WEBP'),
    'tiff': encoded(RGB, 'TIFF', compression='tiff_lzw'),
    'ppm': encoded(RGB, 'PPM'),
}
for _name in ('jpeg', 'jpeg progressive', 'png'):
    GOOD[f'{_name}, trailing garbage'] = GOOD[_name] + b'garbage'
    GOOD[f'{_name}, trailing zeros'] = GOOD[_name] + bytes(99)
