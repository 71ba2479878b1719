"""What the item representations are worth: one task, asked of each of them and of the funnel."""
