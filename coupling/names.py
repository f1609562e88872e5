"""Names of runs, domains and components."""

import re

PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]*"


def checked(value: object) -> str:
    """A name that can be part of a path, a key and a command; raises ``ValueError`` saying what one consists of."""
    if not isinstance(value, str) or not re.fullmatch(PATTERN, value):
        raise ValueError("a name consists of letters (a to z), digits, - and _, and begins with a letter or digit")
    return value
