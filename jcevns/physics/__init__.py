"""Flux, nuclei, form factors, cross sections, recoil spectra."""
