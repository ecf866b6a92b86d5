"""Task families for metarl in a package of their own."""

NAMES = ("WindyPoint-v0",)
"""For Gymnasium; the families themselves are imported by the first that is made."""
