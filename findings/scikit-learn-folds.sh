#!/usr/bin/env bash
# scikit-learn: StratifiedGroupKFold(shuffle=True, random_state=0) draws other folds in 1.8.0 than in 1.7.2.
#
# One would guess that a fixed random_state gives the same folds in both: signature, defaults and sizes of the folds are
# the same. But 1.8 divides the strata more evenly, and so moves groups between folds. A study that keeps only the seed
# tests patients, after an upgrade, that its networks were trained on. Keep the lists of patients, or their hash.
#
# Seen on Python 3.11 with numpy 2.2.6, 62 groups of one row, strata of 30, 20 and 12:
#   1.7.2 rows of each stratum by fold: [[6, 4, 2], [6, 4, 3], [6, 5, 1], [6, 3, 3], [6, 4, 3]]
#   1.8.0 rows of each stratum by fold: [[6, 4, 2], [6, 4, 3], [6, 4, 2], [6, 4, 2], [6, 4, 3]]
#   the folds differ
# Ends with another code than 0 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/folds.py" <<'PY'
import sys

import numpy as np
import sklearn
from sklearn.model_selection import StratifiedGroupKFold

strata = np.repeat([0, 1, 2], [30, 20, 12])
groups = np.arange(len(strata))
folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(strata[:, None], strata, groups)
tests = [test for _, test in folds]
print(sklearn.__version__, "rows of each stratum by fold:", [np.bincount(strata[test]).tolist() for test in tests])
print([test.tolist() for test in tests], file=sys.stderr)
PY
for version in 1.7.2 1.8.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "scikit-learn==$version" numpy==2.2.6
    "$folder/$version/bin/python" "$folder/folds.py" 2> "$folder/$version.txt" | tee "$folder/$version.out"
done
grep -qF '[[6, 4, 2], [6, 4, 3], [6, 5, 1], [6, 3, 3], [6, 4, 3]]' "$folder/1.7.2.out"
grep -qF '[[6, 4, 2], [6, 4, 3], [6, 4, 2], [6, 4, 2], [6, 4, 3]]' "$folder/1.8.0.out"
if cmp -s "$folder/1.7.2.txt" "$folder/1.8.0.txt"; then
    echo "the folds are the same: this finding no longer holds"
    exit 1
fi
echo "the folds differ"
