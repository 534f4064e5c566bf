#!/usr/bin/env bash
# The study of docs/results: depth of the encoder x context on CamVid, two seeds.
#
#     bash benchmarks/segmentation_study.sh CAMVID RUNS [STRIDES] [SEEDS]
#
# RUNS gets the run folders; reports/ gets a file a row. A row that is there already is kept.
data=$1 runs=$2 strides=${3:-"8 16 32"} seeds=${4:-"0 1"}
source "$(dirname "$0")/study.sh"

shared=(--ignore-label 11 --image-size 180 240 --crop 144 192 --scales 0.75 1.5 --encoder-frozen 4)
for stride in $strides; do
    for seed in $seeds; do
        for context in none renet conv attention; do
            row segmentation "$data" "study_stride${stride}_${context}_seed$seed" "$seed" "${shared[@]}" \
                --stride "$stride" --context "$context" --epochs 8
        done
    done
done
for seed in $seeds; do # the same without hurry
    for context in none renet; do
        row segmentation "$data" "longer_stride8_${context}_seed$seed" "$seed" "${shared[@]}" \
            --stride 8 --context "$context" --epochs 14
    done
done
