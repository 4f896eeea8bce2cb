"""Changes since the catalogue's generation: durable, visible at once, folded into the next."""
