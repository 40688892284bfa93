#!/usr/bin/env bash
# What surprises: a patch release of torchmetrics, 1.4.2, changed what its SSIM is. Up to 1.4.1 it averaged the windows that lie inside the image, as
#   Wang et al. (2004) and scikit-image do; from 1.4.2 on it averages over mirrored borders, too. Same call, same images, another score: on small
#   pictures that are empty towards their border, such as digits of 28 by 28, most windows reach over it.
# Whom it hurts: anyone who compares SSIM with a paper or with an older run of their own; the difference is as large as that between two models.
# Version: torchmetrics 1.4.1 against 1.4.2 and 1.9.0 (scikit-image 0.25.2 as the definition).
# What to do: name the version beside the score; or take scikit-image's structural_similarity with a Gaussian window, whose borders are left out.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/score.py" <<'PY'
import sys

import numpy as np
import torch
import torchmetrics
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

# Two pictures of 28 by 28 that are black but for their middle, where they differ.
x = np.zeros((28, 28), dtype=np.float64)
y = x.copy()
x[8:20, 10:18] = 1
y[9:21, 11:17] = 1
value = float(ssim(torch.tensor(x)[None, None], torch.tensor(y)[None, None], gaussian_kernel=True, sigma=1.5, data_range=1.0))
print(f"torchmetrics {torchmetrics.__version__}: {value:.4f}")
if len(sys.argv) > 1:
    import skimage
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    print(f"scikit-image {skimage.__version__}: {structural_similarity(x, y, **options):.4f}")
PY
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip torch==2.13.0 numpy==2.2.6 scikit-image==0.25.2 'setuptools<81'
for version in 1.4.1 1.4.2 1.9.0; do
  pip "torchmetrics==$version"
  if [ "$version" = 1.4.1 ]; then more=definition; else more=; fi
  "$work/venv/bin/python" "$work/score.py" $more 2>/dev/null | tee -a "$work/scores"
done
value() { grep "$1" "$work/scores" | cut -d' ' -f3; }
old=$(value 'torchmetrics 1.4.1') new=$(value 'torchmetrics 1.4.2') today=$(value 'torchmetrics 1.9.0') definition=$(value scikit-image)
if [ "$old" = "$definition" ] && [ "$new" != "$old" ] && [ "$today" = "$new" ]; then
  echo "holds: 1.4.1 is the definition ($definition); 1.4.2 gives $new for the same images, and 1.9.0 still does"
else
  echo "has changed: 1.4.1 $old, 1.4.2 $new, 1.9.0 $today, scikit-image $definition"
  exit 1
fi
