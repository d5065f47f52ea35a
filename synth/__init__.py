"""Evenfill's library: everything about a run that needs neither Ray nor vLLM."""

__version__ = "0.1.0"
