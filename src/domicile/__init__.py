"""Answers over an organisation's documents, with checked quotes and a guarantee of where each byte may travel."""

__version__ = "0.1.0"
