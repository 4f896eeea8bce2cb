"""What could be shown: lists of pins for some query pins, one list per candidate source.

Owns the catalogue's row space, the pin vectors and their index, the pin-board graph, the prepared
lists, and the service that asks all of them under one deadline.
"""
