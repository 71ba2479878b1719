"""Item towers: AIR (content alone) and the hybrid (everything known), one class for both."""
