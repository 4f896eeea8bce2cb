"""
Who a user is.

Takes in what people do to pins, durably, and tells the several interests of each: clusters of their
actions, each with its medoid pin and its importance (PinnerSage, Pal et al. 2020).
"""
