"""Stored scores -> everything that a report states: typed, JSON-ready, without pixels and without formatting."""
