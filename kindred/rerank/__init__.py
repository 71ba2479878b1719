"""Puts candidates in order, blends ad rates in, and says why."""
