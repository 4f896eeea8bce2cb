"""
What is shown: one ordered list of pins for one request.

This package merges the candidate lists of a request into one pool, computes features, scores them
with a gradient boosted model (or hand-tuned weights before any training), orders, explains and
logs what was shown.
"""
