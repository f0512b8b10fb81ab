"""Runs a plan on Ray: session, scheduler, one trial, pruning, searches, tuning, replay, monitor."""
