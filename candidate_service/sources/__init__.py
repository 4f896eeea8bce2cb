"""One module per way of finding candidates; each keeps the promise in candidate.py."""
