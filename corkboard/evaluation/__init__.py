"""Evidence: what sources and models earn on one's own data, as of a day in the past."""
