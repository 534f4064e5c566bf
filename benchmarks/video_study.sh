#!/usr/bin/env bash
# The study of the README: heads x streams on UTD-MHAD, train subjects 1, 3, 5 -> val subject 7.
#
#     bash benchmarks/video_study.sh UTD_MHAD RUNS [TRAINING FLAGS ...]
#
# RUNS gets the run folders; reports/ gets a file a row. A row that is there already is kept. The features are computed
# once and shared.
set -euo pipefail
data=$1 runs=$2
shift 2

row() { # name, seed, training flags ...
    local name=$1 seed=$2
    shift 2
    [ -f "reports/video_utd_study_${name}_seed$seed.json" ] && return
    rm -rf "${runs:?}/${name}_$seed"
    python scripts/train_video.py --data "$data" --out "$runs/${name}_$seed" --seed "$seed" --patience 0 "$@"
    python scripts/evaluate_video.py --data "$data" --model "$runs/${name}_$seed" \
        --report "reports/video_utd_study_${name}_seed$seed.json" --confusion "$runs/${name}_$seed/confusion.png"
}

for seed in 0 1; do
    for head in mean gru; do
        row "${head}_both" "$seed" --head "$head" "$@"
        row "${head}_appearance" "$seed" --head "$head" --streams appearance "$@"
        row "${head}_difference" "$seed" --head "$head" --streams difference "$@"
    done
    for head in rnn lstm; do row "${head}_both" "$seed" --head "$head" "$@"; done
    row convlstm_both "$seed" --head convlstm --hidden-size 64 "$@" # 256 would have four times the GRU's weights
done
