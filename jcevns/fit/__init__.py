"""Fits: profiles, best fits, intervals, limits, contours."""
