"""The verbs of each service, as methods; `corkboard.client.Client` has them all."""
