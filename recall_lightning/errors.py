"""Errors that a user can mend."""


class InputError(ValueError):
    """Something the user gave is wrong: a file, a row, a config key or a flag.

    The message is one line that names the place, what was wrong with it, and how to mend it; the program prints it and
    ends with exit status 2.
    """
