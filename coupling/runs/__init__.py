"""A run on disk: its directory, checkpoints and logs, and how a path names one."""
