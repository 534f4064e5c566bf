#!/usr/bin/env bash
# The study of docs/results: does a ReNet help on a drive that training never saw? A drive of CamVid's train is held out.
#
#     bash benchmarks/unseen_drive_study.sh CAMVID RUNS
#
# RUNS gets the run folders; reports/ gets two files a run, of the drive held out and of val, whose drive train shows.
set -euo pipefail
data=$1 runs=$2 drive=0006R0

for seed in 0 1; do
    for context in renet none; do
        run=$runs/held_${context}_seed$seed reports=reports/segmentation
        [ -f "$reports/unseen_drive_${context}_seed$seed.json" ] && continue
        rm -rf "${run:?}"
        python scripts/train_segmentation.py --data "$data" --ignore-label 11 --hold-out "$drive" --out "$run" --context "$context" \
            --seed "$seed" --encoder tf_efficientnet_lite2 --epochs 20 --patience 0 --keep last --workers 0 --image-size 360 480 \
            --crop 320 320 --scales 0.5 1.75 --balance 0.25 --encoder-frozen 4
        python scripts/evaluate_segmentation.py --data "$data" --ignore-label 11 --model "$run" \
            --report "$reports/seen_drive_${context}_seed$seed.json"
        python scripts/evaluate_segmentation.py --data "$data" --ignore-label 11 --split train --names "$drive" --model "$run" \
            --report "$reports/unseen_drive_${context}_seed$seed.json"
    done
done
