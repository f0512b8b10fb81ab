"""Intervals, tests, power, verdicts and scaling laws: pure functions of numbers."""
