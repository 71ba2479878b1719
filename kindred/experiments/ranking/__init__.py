"""Ranking judged: graded documents, simulated clicks, and few purchases on simulated markets."""
