"""Coupled GANs over any number of unpaired image domains.

`from coupling import NAME` is all that users and authors of plugins need: ``__init__.pyi`` lists the public names. Each
is loaded at its first use, so that ``import coupling`` imports neither torch nor a plugin.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
