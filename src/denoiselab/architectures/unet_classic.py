"""U-Net: blocks of two 3x3 convolutions, max pooling, transposed 2x2 convolutions, concatenated skips.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI 2015, figure 1,
with padded convolutions and optional BatchNorm. Paper: widths 64, 128, 256, 512, 1024.
"""

from torch import nn

from denoiselab.architectures._unet import Config, UNet

__all__ = ["Config", "build"]


def build(config: Config) -> nn.Module:
    return UNet(config)
