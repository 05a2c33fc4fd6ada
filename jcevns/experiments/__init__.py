"""Experiments as records of data."""
