"""A made-up world with a known truth, for tests and for people without traffic.

SIMULATED says so, and stands beside every figure that comes out of it.
"""

SIMULATED = "SIMULATION: made-up people with planted tastes; says nothing about real ones."
