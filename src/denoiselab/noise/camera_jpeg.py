"""The noise of a camera's JPEG: drawn on the raw mosaic, then processed and compressed with the image.

1. sRGB back to the linear raw signal: tone curve, gamma, colour matrix and white balance of a random camera (Brooks,
   Mildenhall, Xue, Chen, Sharlet, Barron: Unprocessing Images for Learned Raw Denoising, CVPR 2019).
2. One channel per pixel (Bayer), shot and read noise, saturation.
3. White balance, demosaicking, colour matrix, gamma and tone curve.
4. Blur of the noise in luma and chroma, sharpening, JPEG.

Demosaicking, blur, sharpening and JPEG's chroma subsampling are linear, and act on the noise alone: the clean image is
taken as the camera's image without noise, so that a denoiser does not learn to undo them. Only JPEG's rounding changes
the image itself.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from denoiselab.config.camera_noise import CameraJpeg
from denoiselab.noise import jpeg, sensor
from denoiselab.noise.levels import drawn
from denoiselab.runtime.errors import UserError

GAMMA, DARKEST = 2.2, 1e-8
RED, BLUE = (1.9, 2.4), (1.5, 1.9)  # gains of the white balance
EXPOSURE = (0.8, 0.1)  # mean and deviation of the factor from image to raw signal
INFLECTION = 0.9  # of brightness; above, the gains end at 1, so that white saturates the sensor
READ = (2.18, 1.20, 0.26)  # slope, intercept and deviation of log read over log shot
XYZ_OF_SRGB = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
CAMERAS_OF_XYZ = (  # colour matrices of four cameras, from Brooks et al.
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.6130, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.8380, -0.2630, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.0970, 0.1581, 0.5181)),
)
COLOURS = (0, 1, 1, 2)  # channel at each site of the Bayer pattern: red, green beside red, green beside blue, blue
# Filters that estimate a site's missing channels: green at red and blue; red (blue) at green beside red (blue), above
# it, and at blue (red). Bilinear; and Malvar, He, Cutler: High-Quality Linear Interpolation. ICASSP 2004.
BILINEAR = (
    ((0, 0, 0, 0, 0), (0, 0, 2, 0, 0), (0, 2, 0, 2, 0), (0, 0, 2, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 4, 0, 4, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 4, 0, 0), (0, 0, 0, 0, 0), (0, 0, 4, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0)),
)
MALVAR = (
    ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0)),
    ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0)),
    ((0, 0, -1, 0, 0), (0, -1, 4, -1, 0), (0.5, 0, 5, 0, 0.5), (0, -1, 4, -1, 0), (0, 0, -1, 0, 0)),
    ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0)),
)
ESTIMATES = ((0, 2, 3, 4), (1, 0, 0, 1), (4, 3, 2, 0))  # by channel and site: 0: the pixel itself, else a filter
SHARP = 1.0  # sigma of unsharp masking, in pixels
FREQUENCIES = (torch.fft.fftfreq, torch.fft.rfftfreq)  # of rows and columns


class Develop(NamedTuple):
    """How a camera turns the raw signal into an image, for each of N images."""

    matrix: torch.Tensor  # (N, 3, 3), the camera's channels of linear sRGB
    gains: torch.Tensor  # (N, 3, 1, 1), white balance and exposure

    @staticmethod
    def draw(images: torch.Tensor, generator: torch.Generator) -> "Develop":
        """Colour matrix and gains of a random camera and scene."""
        chance = torch.rand((len(images), 6), generator=generator, device=images.device, dtype=images.dtype)
        normal = torch.randn((len(images), 1), generator=generator, device=images.device, dtype=images.dtype)
        known = torch.tensor(CAMERAS_OF_XYZ, device=images.device, dtype=images.dtype)
        share = chance[:, :4] / chance[:, :4].sum(dim=1, keepdim=True)
        matrix = (share @ known.flatten(1)).unflatten(1, (3, 3)) @ torch.tensor(XYZ_OF_SRGB).to(images)
        red, blue = (low + (high - low) * chance[:, n, None] for n, (low, high) in ((4, RED), (5, BLUE)))
        factor = (EXPOSURE[0] + EXPOSURE[1] * normal).clamp(min=0.1)
        gains = torch.cat([red, torch.ones_like(red), blue], dim=1) / factor
        return Develop(matrix / matrix.sum(dim=2, keepdim=True), gains[:, :, None, None])

    def raw(self, images: torch.Tensor) -> torch.Tensor:
        """The camera's linear signal of images (N, 3, H, W) in [0, 1]; white is 1 and saturates."""
        toned = 0.5 - torch.sin(torch.asin((1 - 2 * images).clamp(-1, 1)) / 3)
        signal = jpeg.mix(toned.clamp(min=DARKEST) ** GAMMA, self.matrix)
        gray = signal.mean(dim=1, keepdim=True)
        bright = ((gray - INFLECTION).clamp(min=0) / (1 - INFLECTION)).square().clamp(max=1)
        dark = 1 / self.gains
        return signal * torch.maximum(bright + (1 - bright) * dark, dark)

    def image(self, balanced: torch.Tensor) -> torch.Tensor:
        """The image of a signal (N, 3, H, W) after white balance, clipped at white."""
        light = jpeg.mix(balanced.clamp(max=1), torch.linalg.inv(self.matrix))
        curve = light.clamp(DARKEST, 1) ** (1 / GAMMA)
        return curve.square() * (3 - 2 * curve)


def camera_jpeg(clean: torch.Tensor, generator: torch.Generator, spec: CameraJpeg) -> torch.Tensor:
    """A camera's image with noise, compressed. UserError for gray images, or an unknown camera or ISO."""
    if clean.shape[1] != 3:
        raise UserError("noise camera_jpeg is for colour images; data.channels is 1")
    develop = Develop.draw(clean, generator)
    shot, read = levels(clean, generator, spec)
    phase = torch.randint(jpeg.PERIOD, (len(clean), 2), generator=generator, device=clean.device)
    site = bayer(phase, *clean.shape[2:])
    raw = develop.raw(clean)
    noise = saturated(of_site(raw, site), shot, read, generator) * of_site(develop.gains.expand_as(clean), site)
    balanced = raw * develop.gains
    noisy = balanced + demosaicked(noise, site, drawn((0, 1), clean, generator))
    shown = clean + finished(develop.image(noisy) - develop.image(balanced), generator, spec)
    quality = drawn(spec.quality, clean, generator).round().reshape(-1).expand(len(clean))
    return jpeg.compressed(shown.clamp(0, 1), quality, phase, detail_of=clean)


def levels(images: torch.Tensor, generator: torch.Generator, spec: CameraJpeg) -> tuple[torch.Tensor, torch.Tensor]:
    """Shot and read noise of the raw signal, each () or (N, 1, 1, 1)."""
    if spec.camera:  # of green: the others have the same gain before white balance
        a, b = sensor.of_table(images, generator, spec)
        return a[:, sensor.GREEN], b[:, sensor.GREEN]
    assert spec.shot is not None
    shot = drawn(spec.shot, images, generator, log=True)
    slope, intercept, deviation = READ
    normal = torch.randn((len(images), 1, 1, 1), generator=generator, device=images.device, dtype=images.dtype)
    return shot, torch.exp(slope * shot.log() + intercept + deviation * normal)


def bayer(phase: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Site of every pixel, (N, 1, H, W), 0 to 3 as in COLOURS; `phase` (N, 2): site of the first one."""
    row, column = (
        (torch.arange(size, device=phase.device) + phase[:, n, None]) % 2 for n, size in enumerate((height, width))
    )
    return (2 * row[:, :, None] + column[:, None, :])[:, None]


def of_site(channels: torch.Tensor, site: torch.Tensor) -> torch.Tensor:
    """The mosaic (N, 1, H, W) of channels (N, 3, H, W)."""
    return channels.gather(1, torch.tensor(COLOURS, device=site.device)[site])


def saturated(mosaic: torch.Tensor, shot: torch.Tensor, read: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Noise N(0, shot x + read) of a mosaic x whose sum with it ends at 1, where the sensor saturates."""
    return torch.minimum(sensor.noisy(mosaic, shot, read, generator), mosaic.clamp(min=1)) - mosaic


def demosaicked(mosaic: torch.Tensor, site: torch.Tensor, blend: torch.Tensor) -> torch.Tensor:
    """Channels (N, 3, H, W) of a mosaic (N, 1, H, W): `blend` (N, 1, 1, 1) of Malvar's filters, the rest bilinear."""
    kernels = torch.tensor((BILINEAR, MALVAR), device=mosaic.device, dtype=mosaic.dtype).flatten(0, 1)[:, None] / 8
    mode = "reflect" if min(mosaic.shape[2:]) > 2 else "constant"  # keeps the pattern
    linear, sharp = F.conv2d(F.pad(mosaic, (2, 2, 2, 2), mode=mode), kernels).split(len(MALVAR), dim=1)
    known = torch.cat([mosaic, torch.lerp(linear, sharp, blend)], dim=1)
    chosen = torch.tensor(ESTIMATES, device=site.device)[:, site[:, 0]].transpose(0, 1)
    return known.gather(1, chosen)


def finished(noise: torch.Tensor, generator: torch.Generator, spec: CameraJpeg) -> torch.Tensor:
    """Noise (N, 3, H, W) after the blur of luma and chroma and the sharpening of luma (periodic at the borders)."""
    levels = (spec.luma_blur, spec.sharpening, spec.chroma_blur)
    luma_blur, amount, chroma_blur = (drawn(level, noise, generator) for level in levels)
    rows, columns = (kind(size, device=noise.device) for kind, size in zip(FREQUENCIES, noise.shape[2:], strict=True))
    squared = (rows[:, None].square() + columns.square()).to(noise)
    luma = gaussian(luma_blur, squared) * (1 + amount * (1 - gaussian(SHARP, squared)))
    kept = torch.cat(
        [part.expand(len(noise), count, -1, -1) for part, count in ((luma, 1), (gaussian(chroma_blur, squared), 2))],
        dim=1,
    )
    spectrum = torch.fft.rfft2(jpeg.mix(noise, jpeg.TO_YCC)) * kept
    return jpeg.mix(torch.fft.irfft2(spectrum, s=noise.shape[2:]), jpeg.TO_RGB)


def gaussian(sigma: torch.Tensor | float, squared: torch.Tensor) -> torch.Tensor:
    """Response of a Gaussian blur of `sigma` pixels to the squared frequencies, in cycles per pixel."""
    return torch.exp(-2 * math.pi**2 * sigma**2 * squared)
