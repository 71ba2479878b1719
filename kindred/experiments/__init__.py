"""What is it worth? Offline evaluation, with intervals, beside the simplest strong baselines."""
