"""Settings of the whole test suite."""

from hypothesis import settings

# The same few examples on every machine, however slow it is.
settings.register_profile("metarl", deadline=None, max_examples=25, derandomize=True, database=None)
settings.load_profile("metarl")
