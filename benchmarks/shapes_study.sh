#!/usr/bin/env bash
# The drawn questions of docs/results: with the picture and without.
#
#     bash benchmarks/shapes_study.sh RUNS [SEEDS]
#
# RUNS gets the set and the run folders; reports/ gets a file a seed. One that is there already is kept.
set -euo pipefail
runs=$1 seeds=${2:-"0"}

[ -d "$runs/shapes_vqa" ] || python scripts/draw_shapes.py --task vqa --out "$runs/shapes_vqa" --train 2000 --val 400
for seed in $seeds; do
    report=reports/vqa/shapes_seed$seed.json
    [ -f "$report" ] && continue
    for kind in san question_only; do
        rm -rf "${runs:?}/shapes_${kind}_seed$seed"
        python scripts/train_vqa.py --data "$runs/shapes_vqa" --out "$runs/shapes_${kind}_seed$seed" --kind $kind \
            --image-size 160 --hidden-size 256 --dropout 0.1 --learning-rate 2e-3 --epochs 10 --patience 0 \
            --seed "$seed" --workers 0
    done
    python scripts/evaluate_vqa.py --data "$runs/shapes_vqa" --model "$runs/shapes_san_seed$seed" \
        --question-only "$runs/shapes_question_only_seed$seed" --report "$report"
done
