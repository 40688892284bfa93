#!/usr/bin/env bash
# scikit-learn 1.7.2's GaussianMixture.sample returns the same samples at every call where random_state is an integer, as examples set it,
# and returns them sorted by component: the first rows are all of the first Gaussian.
# It hurts whoever draws latents, or starts of a sampler, batch by batch from a fitted mixture: every batch is the same, nothing fails, and the
# diversity of a thousand samples is that of one batch; and whoever takes the first n of a larger draw gets a part of the components alone.
# What to do: draw all samples in one call and shuffle them, or set mixture.random_state to a RandomState instance after fitting. diffcli fits with
# scikit-learn and draws by itself, one generator an image (diffcli/diffusion/priors.py).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "scikit-learn==1.7.2" "numpy==2.2.6" >/dev/null 2>&1
v/bin/python - <<'PY'
import sys

import numpy as np
import sklearn
from sklearn.mixture import GaussianMixture

print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}")
points = np.random.default_rng(0).normal(size=(200, 1)) + np.repeat([[0.0], [10.0]], 100, axis=0)
mixture = GaussianMixture(2, random_state=0).fit(points)
(first, labels), (second, _) = mixture.sample(6), mixture.sample(6)
same, in_order = np.array_equal(first, second), bool((np.diff(labels) >= 0).all())
print(f"two calls of sample(6), random_state=0: {'the same' if same else 'different'} samples")
print(f"components of a draw: {labels.tolist()}, of a draw of 1,000 {'sorted' if (np.diff(mixture.sample(1000)[1]) >= 0).all() else 'mixed'}")
mixture.random_state = np.random.RandomState(0)
fresh = not np.array_equal(mixture.sample(6)[0], mixture.sample(6)[0])
print(f"with a RandomState instance: {'different' if fresh else 'the same'} samples")
holds = same and in_order and fresh
print("Still so: an integer seed draws the same batch again." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
