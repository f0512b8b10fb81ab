"""Copies of stored trials for experiment trackers, one file a tracker."""
