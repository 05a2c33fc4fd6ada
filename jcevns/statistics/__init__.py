"""Scans, toys, posteriors, projections."""
