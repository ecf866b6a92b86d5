"""Conformance checks: what must hold for any task family before its results mean anything."""

from metarl.conformance.probes import CheckFailed
from metarl.conformance.runner import CHECKS, Result, check_family, report

__all__ = ["CHECKS", "CheckFailed", "Result", "check_family", "report"]
