"""Finds candidates: queries in rows, sources, filters' plans, the merge."""
