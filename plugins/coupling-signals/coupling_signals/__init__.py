"""Signals for `coupling`: sounds that are computed from a seed, as waveforms, envelopes or spectrograms."""
