"""The size of a batch, and its division among processes and micro-batches."""

from __future__ import annotations

from dataclasses import dataclass

from coupling.errors import ConfigError, DataError


@dataclass(frozen=True)
class Batch:
    """The samples of one domain in one step: ``size`` over all processes; each process takes its own slice.

    A process passes its slice through the networks in ``accumulate`` micro-batches of equal size.

    Raises:
        ConfigError: the samples cannot be divided evenly.
    """

    size: int
    processes: int = 1
    rank: int = 0
    """Number of this process, counted from 0."""
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.size % (self.processes * self.accumulate):
            parts = [f"{self.processes} processes"] if self.processes > 1 else []
            parts += [f"{self.accumulate} micro-batches (training.accumulate)"] if self.accumulate > 1 else []
            raise ConfigError(
                f"training.batch_size: {self.size} cannot be divided among {' times '.join(parts)}; "
                f"choose a multiple of {self.processes * self.accumulate}"
            )

    @property
    def share(self) -> int:
        """Samples of this process."""
        return self.size // self.processes

    @property
    def own(self) -> slice:
        """The place of this process's samples in the whole batch."""
        return slice(self.rank * self.share, (self.rank + 1) * self.share)

    @property
    def micro_batches(self) -> list[slice]:
        """The place of each micro-batch among this process's samples."""
        size = self.share // self.accumulate
        return [slice(start, start + size) for start in range(0, self.share, size)]

    def positions(self, step: int) -> range:
        """Positions in the endless sequence of samples that this process reads in ``step``, counted from 0."""
        return range(step * self.size, (step + 1) * self.size)[self.own]

    def check_samples(self, count: int, domain: str) -> None:
        """Raise :class:`DataError` if a domain of ``count`` samples cannot fill the batch."""
        if self.size > count:
            raise DataError(
                f"training.batch_size: {self.size} is larger than the {count} samples of domain '{domain}'; lower it "
                f"to {count} or less, or bring more samples"
            )

    def normalised_together(self, *, synchronised: bool) -> tuple[int, str]:
        """The number of a domain's samples that batch normalisation takes together, and what they belong to.

        ``synchronised``: over all processes. Raises :class:`ConfigError` if it would be a single sample.
        """
        synchronised = synchronised and self.processes > 1
        parts = self.accumulate * (1 if synchronised else self.processes)
        alone = self.processes > 1 and not synchronised
        owner = "process" if alone else "micro-batch" if parts > 1 else "step"
        if self.size // parts < 2:
            raise ConfigError(
                f"training.batch_size: {self.size} leaves one sample a {owner}, and batch normalisation needs more; "
                f"choose {2 * parts} or more" + (", or sync_batch_norm: true" if alone else "")
            )
        return self.size // parts, owner
