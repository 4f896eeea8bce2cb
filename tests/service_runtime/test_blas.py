"""NumPy's products stay on the thread that asked for them."""

import subprocess
import sys

PROGRAM = """
import threading, time
import numpy as np
from service_runtime.blas import use_one_blas_thread
use_one_blas_thread()
points = np.random.default_rng(0).standard_normal((1500, 256)).astype(np.float32)
here, everywhere = time.thread_time(), time.process_time()
for _ in range(20):
    points @ points.T
here, everywhere = time.thread_time() - here, time.process_time() - everywhere
print(here / everywhere)
"""


def test_products_use_no_thread_but_the_callers() -> None:
    """All CPU time of large products is the caller's own, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    # 0.9: other threads of the process (none computes) may cost a little.
    assert float(done.stdout) > 0.9
