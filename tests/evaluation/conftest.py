"""What tests of comparisons share."""

import pytest


@pytest.fixture
def without_pictures(monkeypatch):
    """No pictures in a comparison: drawing takes most of the time, and has its own tests."""
    monkeypatch.setattr("metarl.evaluation.comparison.pictures.pictures", lambda *_: {})
