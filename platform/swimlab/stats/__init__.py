"""Intervals, tests, power, verdicts and scaling laws: functions of numbers, without a store."""
