"""Surrogates of detector simulation, with their systematic errors."""

__version__ = "0.1.0"
