"""
`corkboard doctor`: everything that is known to go wrong, looked at, each with what to do about it.

Each module looks at one thing and gives `Finding`s; it changes nothing and never raises for what it
came to look at.
"""
