"""A seeded market: catalogue, places and visitors whose ground truth is known.

Every figure measured on it is a claim about the code, not about people (SPEC §5).
"""
