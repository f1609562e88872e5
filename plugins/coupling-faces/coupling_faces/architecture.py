"""The paper's face networks (Table 12)."""

from __future__ import annotations

from coupling import Convolutional


class Faces(Convolutional):
    """Networks for 128x128 faces (Table 12), or 64x64: 7 deconvolutions; 6 convolutions, 2 dense layers.

    The paper shares generator layers 1-5 and discriminator layers 3-8.
    """
