"""The machine: files, locks, processes, signals, devices, seeds, the terminal."""
