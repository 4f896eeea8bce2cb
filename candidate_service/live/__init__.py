"""What changed since the catalogue's generation: durable, seen at once, folded later."""
