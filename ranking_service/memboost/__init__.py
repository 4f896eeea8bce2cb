"""
Remembered engagement of a result pin under a query pin, corrected for where it was shown.

`counting` joins what was shown with what was done, `curves` says how much to expect at a place,
`table` keeps the counters behind scores, `live` counts the day, `memory` is what serving asks.
"""
