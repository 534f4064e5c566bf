#!/usr/bin/env bash
# The study of docs/results: heads x streams on UTD-MHAD, train subjects 1, 3, 5 -> val subject 7, two seeds.
#
#     bash benchmarks/video_study.sh UTD_MHAD RUNS [TRAINING FLAGS ...]
#
# RUNS gets the run folders; reports/ gets a file a row. A row that is there already is kept. The features are computed
# once and shared.
data=$1 runs=$2
shift 2
source "$(dirname "$0")/study.sh"

study() { # name, seed, training flags ...
    row video "$data" "utd_study_$1_seed$2" "${@:2}"
}

for seed in 0 1; do
    for head in mean gru; do
        study "${head}_both" "$seed" --head "$head" "$@"
        study "${head}_appearance" "$seed" --head "$head" --streams appearance "$@"
        study "${head}_difference" "$seed" --head "$head" --streams difference "$@"
    done
    for head in rnn lstm; do study "${head}_both" "$seed" --head "$head" "$@"; done
    study convlstm_both "$seed" --head convlstm --hidden-size 64 "$@" # 256 would have four times the GRU's weights
done
