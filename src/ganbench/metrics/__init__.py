"""Scoring: feature extractors apart from pure metric functions, and the protocol behind each number."""
