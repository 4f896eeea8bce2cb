"""Small real data sets that the quick start and the tests load, each with its licence and origin.

A data set is turned into an *import folder* (`pins.parquet`, `saves.parquet`, `actions.parquet`)
which `corkboard import` takes as it takes anybody's data: nothing here has a private way in.
"""
