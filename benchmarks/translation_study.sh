#!/usr/bin/env bash
# The study of docs/results/translation.md: attention, cells and directions on Multi30k, English to German.
#
#     bash benchmarks/translation_study.sh MULTI30K RUNS [SEEDS]
#
# RUNS gets the run folders; reports/ gets a file a row. A row that is there already is kept. The runs are small and
# short, to be compared with each other; the bundled models are larger and were trained for longer.
set -euo pipefail
data=$1 runs=$2 seeds=${3:-"0"}
languages=(--source en --target de)

study() { # name, seed, training flags ...
    local name=study_$1_seed$2 seed=$2
    shift 2
    local report=reports/translation/$name.json
    [ -f "$report" ] && return
    rm -rf "${runs:?}/$name"
    python scripts/train_translation.py --data "$data" "${languages[@]}" --out "$runs/$name" --seed "$seed" \
        --hidden-size 128 --embedding-size 128 --epochs 5 --patience 0 --workers 0 "$@"
    python scripts/evaluate_translation.py --data "$data" "${languages[@]}" --model "$runs/$name" \
        --report "$runs/$name.json"
    python -c 'import json, sys
report = json.load(open(sys.argv[1]))
del report["translations"]  # texts of the data set
json.dump(report, open(sys.argv[2], "w"), indent=1)' "$runs/$name.json" "$report"
}

for seed in $seeds; do
    study dot "$seed"
    study none "$seed" --attention none
    study unidirectional "$seed" --no-bidirectional
    study gru "$seed" --cell gru
    study rnn "$seed" --cell rnn
    study additive "$seed" --attention additive
done
python benchmarks/translation_length.py --reports reports/translation/study_dot_seed0.json \
    reports/translation/study_none_seed0.json --out docs/translation_length.png
