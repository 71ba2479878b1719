"""Plain facts everybody shares: what crosses a boundary, and nothing that acts.

This layer imports msgspec, numpy and the standard library only.
"""
