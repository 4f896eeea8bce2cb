"""One module per artifact that this service reads; each publishes a checked generation."""
