"""Faces for `coupling`: drawn avatars, CelebA, and the coupled-GAN paper's face networks.

Nothing is imported here, so that the processes that draw the avatars start at once.
"""
