#!/usr/bin/env bash
# The study of docs/results: decoders, cells, encoders and what they are trained for, on a third of Flickr8k, one budget.
#
#     bash benchmarks/captioning_study.sh FLICKR8K RUNS
#
# RUNS gets the run folders; reports/ gets two files a row, greedy and beam 5. A row that is there already is kept.
set -euo pipefail
data=$1 runs=$2

study() { # name, training flags ...
    local name=$1 run=$runs/captioning_$1 beam
    shift
    if [ ! -d "$run/best" ]; then
        rm -rf "${run:?}"
        python scripts/train_captioning.py --data "$data" --out "$run" --limit 2000 --batch-size 16 --patience 0 --workers 0 "$@"
    fi
    for beam in 1 5; do
        local report=reports/captioning/rows_${name}_beam$beam.json
        [ -f "$report" ] && continue
        python scripts/evaluate_captioning.py --data "$data" --model "$run" --beam-size $beam --report "$run/report.json"
        python -c 'import json, sys
report = json.load(open(sys.argv[1]))
del report["captions"]  # one by one
json.dump({**report, "row": sys.argv[3]}, open(sys.argv[2], "w"), indent=1)' "$run/report.json" "$report" "$name"
    done
}

once=(--epochs 5 --learning-rate 1e-3 --concepts 0 --score dot)
for decoder in show_tell show_attend_tell att2in updown; do study $decoder "${once[@]}" --decoder $decoder; done
for cell in gru rnn; do study show_attend_tell_$cell "${once[@]}" --cell $cell; done
study show_attend_tell_seed_1 "${once[@]}" --seed 1
for cell in gru rnn; do study show_attend_tell_${cell}_seed_1 "${once[@]}" --cell $cell --seed 1; done
for encoder in lite1 lite2; do study show_attend_tell_$encoder "${once[@]}" --encoder tf_efficientnet_$encoder; done
study show_attend_tell_320 "${once[@]}" --image-size 320
study concepts "${once[@]}" --concepts 16
first=$runs/captioning_show_attend_tell
study further --init-from "$first" --words keep --epochs 2 --learning-rate 2e-4
study tuned --init-from "$first" --words keep --epochs 2 --learning-rate 2e-4 --finetune-encoder --encoder-frozen 16
study self_critical --init-from "$first" --words keep --epochs 2 --learning-rate 1e-4 --self-critical
