#!/usr/bin/env bash
# The study of docs/results: what does a training know of a drive that it never saw? A drive of CamVid's train is held out.
# With a ReNet and without, two seeds; and with a Lovasz loss.
#
#     bash benchmarks/unseen_drive_study.sh CAMVID RUNS
#
# RUNS gets the run folders; reports/ gets two files a run, of the drive held out and of val, whose drive train shows.
set -euo pipefail
data=$1 runs=$2 drive=0006R0

one() {  # NAME FLAG ...
    local run=$runs/held_$1 reports=reports/segmentation name=$1
    shift
    [ -f "$reports/unseen_drive_$name.json" ] && return
    rm -rf "${run:?}"
    python scripts/train_segmentation.py --data "$data" --ignore-label 11 --hold-out "$drive" --out "$run" "$@" \
        --encoder tf_efficientnet_lite2 --epochs 20 --patience 0 --keep last --workers 0 --image-size 360 480 \
        --crop 320 320 --scales 0.5 1.75 --balance 0.25 --encoder-frozen 4
    python scripts/evaluate_segmentation.py --data "$data" --ignore-label 11 --model "$run" \
        --report "$reports/seen_drive_$name.json"
    python scripts/evaluate_segmentation.py --data "$data" --ignore-label 11 --split train --names "$drive" --model "$run" \
        --report "$reports/unseen_drive_$name.json"
}

for seed in 0 1; do
    for context in renet none; do
        one "${context}_seed$seed" --context "$context" --seed "$seed"
    done
done
one lovasz --lovasz 0.5
