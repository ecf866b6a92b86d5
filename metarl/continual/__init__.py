"""Lifelong learning: one policy, one task after another, and what becomes of the earlier ones."""
