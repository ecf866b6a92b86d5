"""Errors that are the user's to mend: one line that says what is wrong and what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a name, a value, a file or a folder; the command line prints it as one line."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint after an unknown name, e.g. ``did you mean 'HalfCheetahVel-v0'?``"""
    known = sorted(known)
    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(folded[match]) for match in close) + "?"
    return "known: " + (", ".join(known) if known else "none")
