"""What ads cost an order and what they earn: the frontier of blends, on a market and on a log."""
