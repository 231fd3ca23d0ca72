#!/bin/sh
# Best of n: sample, judge, keep the answers that the judge passed, and train on them.
#
#   docs/examples/best_of_n/run.sh [ID [OPTION…]]
#
# ID names the dataset and, with an ending, the two runs (default: best-of-n). Each OPTION goes to the
# first `tailrace runs create`, such as --set train.max_steps=400. WHERE is the condition that an
# answer must meet (default: outcome = pass).
set -eu
here=$(dirname "$0")
id=${1:-best-of-n}
[ $# -eq 0 ] || shift
tailrace runs create --file "$here/sample.yaml" --id "$id-sample" --follow "$@"
# Held-out prompts stay out of the training.
tailrace datasets derive --from "runs/$id-sample" --id "$id" --kind completion \
    --eval-set dataset:train --where "${WHERE:-outcome = pass}"
tailrace runs create --file "$here/train.yaml" --id "$id-train" --follow \
    --set "dataset=$id" --set "model.source=runs/$id-sample"
