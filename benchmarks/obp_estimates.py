"""What the Open Bandit Pipeline estimates of a logged problem: run by a Python that has `obp`.

    python -m venv SCRATCH && SCRATCH/bin/pip install obp
    .venv/bin/python benchmarks/bench_off_policy.py --data FOLDER --obp SCRATCH/bin/python

obp wants PyTorch and is no dependency of ours. Reads a .npz of `rewards`, `actions`, `chances`
(float64[n] of the logged choices), `target` (float64[n, a]) and `predicted` (float64[n, a]); prints
one JSON object: value, low and high by estimator, the intervals by obp's bootstrap.
"""

from __future__ import annotations

import json
import sys

import numpy as np

SAMPLES = 200


def main() -> None:
    """Print the estimates."""
    from obp.ope import (  # only in the other Python
        DoublyRobust,
        InverseProbabilityWeighting,
        SelfNormalizedInverseProbabilityWeighting,
    )

    told = np.load(sys.argv[1])
    shared = {
        "reward": told["rewards"],
        "action": told["actions"],
        "pscore": told["chances"],
        "action_dist": told["target"][:, :, None],
    }
    model = {"estimated_rewards_by_reg_model": told["predicted"][:, :, None]}
    found = {}
    for name, estimator, more in (
        ("ips", InverseProbabilityWeighting(), {}),
        ("snips", SelfNormalizedInverseProbabilityWeighting(), {}),
        ("dr", DoublyRobust(), model),
    ):
        value = estimator.estimate_policy_value(**shared, **more)
        interval = estimator.estimate_interval(
            **shared, **more, n_bootstrap_samples=SAMPLES, random_state=0
        )
        low, high = (interval[f"95.0% CI ({end})"] for end in ("lower", "upper"))
        found[name] = [float(value), float(low), float(high)]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
