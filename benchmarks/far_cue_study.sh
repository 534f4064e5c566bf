#!/usr/bin/env bash
# The far-cue set of docs/results: the same blue is sky or wall, told only by the other end of the picture; two seeds.
#
#     bash benchmarks/far_cue_study.sh RUNS [SEEDS]
#
# RUNS gets the set and the run folders; reports/ gets a file a row. A row that is there already is kept.
runs=$1 seeds=${2:-"0 1"}
source "$(dirname "$0")/study.sh"

[ -d "$runs/far_cue" ] ||
    python scripts/draw_shapes.py --task segmentation --out "$runs/far_cue" --train 200 --val 100
for seed in $seeds; do
    for context in none renet conv attention; do
        row segmentation "$runs/far_cue" "far_${context}_seed$seed" "$seed" --stride 8 --context "$context" \
            --image-size 64 512 --crop 64 512 --scales 1 1 --encoder-frozen 4 --epochs 18 --batch-size 4
    done
done
