"""JPEG compression on the device: 4:2:0, with the tables of ITU-T T.81, annex K, scaled to the quality as by libjpeg.

The entropy coding is left out, as it is lossless.
"""

import math

import torch
import torch.nn.functional as F

SIDE = 8  # of a block, in pixels
PERIOD = 2 * SIDE  # of the grid of 4:2:0
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF; chroma around 0
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def compressed(
    images: torch.Tensor, quality: torch.Tensor, offset: torch.Tensor, *, detail_of: torch.Tensor | None = None
) -> torch.Tensor:
    """RGB images (N, 3, H, W) in [0, 1] after compression at `quality` (N,), 1 to 100; in [0, 1], not rounded.

    `offset` (N, 2): row and column of the first pixel in the grid of 16 pixels; images cut from a larger JPEG have any.
    `detail_of`: images whose chroma detail, which 4:2:0 loses, is added again.
    """
    height, width = images.shape[-2:]
    size = _whole(height + PERIOD - 1), _whole(width + PERIOD - 1)
    ycc = mix((255 * _shifted(images, offset, size)).round(), TO_YCC).round()
    luma = _quantised(ycc[:, :1] - 128, _table(LUMA, quality)) + 128
    chroma = _enlarged(_quantised(_halved(ycc[:, 1:]), _table(CHROMA, quality)))
    if detail_of is not None:
        known = mix(255 * _shifted(detail_of, offset, size), TO_YCC)[:, 1:]
        chroma = chroma + known - _enlarged(_halved(known))
    decoded = mix(torch.cat([luma, chroma], dim=1), TO_RGB).clamp(0, 255) / 255
    return _shifted(decoded, -offset, (height, width))


def mix(images: torch.Tensor, matrix: tuple[tuple[float, ...], ...] | torch.Tensor) -> torch.Tensor:
    """Channels (N, 3, H, W) times a matrix (3, 3) or (N, 3, 3)."""
    columns = torch.as_tensor(matrix, dtype=images.dtype, device=images.device).reshape(-1, 3, 3, 1, 1).unbind(2)
    return torch.stack([column * images[:, n : n + 1] for n, column in enumerate(columns)]).sum(0)


def _whole(size: int) -> int:
    return math.ceil(size / PERIOD) * PERIOD


def _shifted(images: torch.Tensor, offset: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pixel (i, j) of the result is (i, j) - offset of the image, the nearest one beyond its borders."""
    rows, columns = (
        (torch.arange(length, device=images.device) - offset[:, axis, None]).clamp(0, images.shape[2 + axis] - 1)
        for axis, length in enumerate(size)
    )
    places = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).flatten(1)[:, None]
    return images.flatten(2).gather(2, places.expand(-1, images.shape[1], -1)).unflatten(2, size)


def _halved(planes: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(planes, 2)


def _enlarged(planes: torch.Tensor) -> torch.Tensor:
    return F.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)


def _table(base: tuple[tuple[int, ...], ...], quality: torch.Tensor) -> torch.Tensor:
    """Quantisation steps (N, 1, 64) of libjpeg's quality (N,)."""
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None, None]
    steps = torch.tensor(base, dtype=quality.dtype, device=quality.device).flatten()
    return ((steps * scale + 50) / 100).floor().clamp(1, 255)


def _quantised(planes: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Planes (N, C, H, W) with the DCT coefficients of their blocks rounded to multiples of `steps` (N, 1, 64)."""
    blocks = planes.unflatten(3, (-1, SIDE)).unflatten(2, (-1, SIDE)).transpose(3, 4)  # (N, C, rows, columns, 8, 8)
    one = _dct(planes)
    dct = torch.kron(one, one)
    coefficients = (blocks.reshape(len(planes), -1, SIDE**2) @ dct.T / steps).round() * steps
    return (coefficients @ dct).reshape(blocks.shape).transpose(3, 4).reshape(planes.shape)


def _dct(like: torch.Tensor) -> torch.Tensor:
    """Matrix (8, 8) of the orthonormal discrete cosine transform."""
    n = torch.arange(SIDE, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * n + 1) * n[:, None] / (2 * SIDE)) * (2 / SIDE) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.to(like)
