#!/usr/bin/env bash
# What more hours of speech are worth: the same network on 0.2, 0.7 and 1.4 hours of one speaker, as many steps each.
#
#     bash benchmarks/speech_study.sh KERSTIN RUNS
#
# RUNS gets the run folders; reports/ gets a file a row. A row that is there already is kept.
set -euo pipefail
data=$1 runs=$2

study() { # hours, clips of train, times that an epoch draws each, epochs
    local report=reports/speech/hours_$1.json
    [ -f "$report" ] && return
    rm -rf "${runs:?}/hours_$1"
    python scripts/train_speech.py --data "$data" --out "$runs/hours_$1" --limit "$2" --repeat "$3" --epochs "$4" --bands 64 \
        --hidden-size 256 --layers 2 --dropout 0.25 --learning-rate 1.5e-3 --patience 0 --keep last --workers 0
    python scripts/evaluate_speech.py --data "$data" --split val --model "$runs/hours_$1" --report "$runs/hours_$1.json"
    python -c 'import json, sys
report = json.load(open(sys.argv[1]))
del report["worst_clips"]  # texts of the data set
json.dump({"hours": float(sys.argv[3]), **report}, open(sys.argv[2], "w"), indent=1)' "$runs/hours_$1.json" "$report" "$1"
}

study 0.2 155 10 59
study 0.7 541 5 34
study 1.4 0 1 85
