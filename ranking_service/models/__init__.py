"""How rankers are trained: five entries of one trainer, two baselines, and what they share."""
