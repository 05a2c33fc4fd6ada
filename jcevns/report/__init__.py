"""Figures, tables and the reproduction of the paper."""
