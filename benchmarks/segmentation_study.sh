#!/usr/bin/env bash
# The study of the README: depth of the encoder x context on CamVid, and the far-cue set; two seeds.
#
#     bash benchmarks/segmentation_study.sh CAMVID RUNS [SEEDS]
#
# RUNS gets the run folders and the far-cue set; reports/ gets a file a row. A row that is there already is kept.
set -euo pipefail
data=$1 runs=$2 seeds=${3:-"0 1"}

row() { # name, data, evaluation flags, training flags ...
    local name=$1 folder=$2 seed=$3
    shift 3
    [ -f "reports/segmentation_$name.json" ] && return
    rm -rf "${runs:?}/$name"
    python scripts/train_segmentation.py --data "$folder" --out "$runs/$name" --seed "$seed" --patience 0 "$@"
    python scripts/evaluate_segmentation.py --data "$folder" --model "$runs/$name" \
        --report "reports/segmentation_$name.json" --confusion "$runs/$name/confusion.png"
}

[ -d "$runs/far_cue" ] || python benchmarks/make_far_cue.py --out "$runs/far_cue" --train 200
for seed in $seeds; do
    for stride in 8 16 32; do
        for context in none renet conv attention; do
            row "study_stride${stride}_${context}_seed$seed" "$data" "$seed" --ignore-label 11 --stride "$stride" \
                --context "$context" --image-size 180 240 --crop 144 192 --scales 0.75 1.5 --epochs 5 --workers 0
        done
    done
    for context in none renet conv attention; do
        row "far_${context}_seed$seed" "$runs/far_cue" "$seed" --stride 8 --context "$context" \
            --image-size 64 512 --crop 64 512 --scales 1 1 --epochs 18 --batch-size 4 --workers 0
    done
done
