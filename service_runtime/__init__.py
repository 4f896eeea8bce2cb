"""How any process of ours runs: it knows processes, files, clocks and sockets, nothing else."""
