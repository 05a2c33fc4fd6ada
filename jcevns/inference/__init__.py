"""Fits, profiles, intervals."""
