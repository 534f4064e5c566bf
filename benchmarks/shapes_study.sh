#!/usr/bin/env bash
# The drawn sets of docs/results: what a training learns, with the picture and without, with context and without.
#
#     bash benchmarks/shapes_study.sh RUNS [SEEDS]
#
# RUNS gets the sets and the run folders; reports/ gets a file a row. A row that is there already is kept.
runs=$1 seeds=${2:-"0"}
source "$(dirname "$0")/study.sh"

[ -d "$runs/shapes_vqa" ] || python scripts/draw_shapes.py --task vqa --out "$runs/shapes_vqa" --train 2000 --val 400
[ -d "$runs/shapes_scenes" ] ||
    python scripts/draw_shapes.py --task segmentation --out "$runs/shapes_scenes" --train 200 --val 100
for seed in $seeds; do
    report=reports/vqa/shapes_seed$seed.json
    if [ ! -f "$report" ]; then
        for kind in san question_only; do
            rm -rf "${runs:?}/shapes_${kind}_seed$seed"
            python scripts/train_vqa.py --data "$runs/shapes_vqa" --out "$runs/shapes_${kind}_seed$seed" --kind $kind \
                --image-size 160 --hidden-size 256 --dropout 0.1 --learning-rate 2e-3 --epochs 10 --patience 0 \
                --seed "$seed" --workers 0
        done
        python scripts/evaluate_vqa.py --data "$runs/shapes_vqa" --model "$runs/shapes_san_seed$seed" \
            --question-only "$runs/shapes_question_only_seed$seed" --report "$report"
    fi
    for context in renet none; do
        row segmentation "$runs/shapes_scenes" "shapes_${context}_seed$seed" "$seed" --stride 8 --context "$context" \
            --image-size 96 384 --crop 96 384 --scales 1 1 --encoder-frozen 4 --epochs 18 --batch-size 4
    done
done
