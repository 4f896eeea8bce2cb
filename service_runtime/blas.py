"""
One BLAS thread a caller: our workers are the threads.

NumPy's OpenBLAS spreads every product over all cores and lets its threads spin in between. The
products of one call are far too small for that: with two workers on two cores a batch run over
users took 4.6 times the CPU and 3.2 times as long. Once NumPy is loaded only the library itself can
be told; the environment variable is read at import.
"""

from threadpoolctl import threadpool_limits


def use_one_blas_thread() -> None:
    """Let products run on the calling thread only, in this process from now on."""
    threadpool_limits(limits=1, user_api="blas")
