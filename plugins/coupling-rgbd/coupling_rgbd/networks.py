"""The paper's networks for pairs of colour and depth (supplement, Tables 13 and 14)."""

from __future__ import annotations

from coupling import Convolutional


class Rgbd(Convolutional):
    """Colour and depth at 64 or 128 pixels: 7 generator layers, 8 discriminator layers.

    Objects (64x64, Table 13) and indoor scenes (128x128, Table 14) differ in generator layer 6,
    which doubles the picture at 128. The paper shares generator layers 1-5 and discriminator layers 3-8.
    """
