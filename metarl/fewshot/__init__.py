"""Supervised few-shot learning: classification of images and texts, and regression of curves."""
