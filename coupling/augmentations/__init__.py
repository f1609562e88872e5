"""Augmentation in front of the discriminators: random changes of real and generated samples alike."""
