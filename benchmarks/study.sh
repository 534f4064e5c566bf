# What the studies of segmentation and video share; they source it. `runs` names the folder of the runs.
set -euo pipefail

row() { # task, data, name, seed, training flags ...
    local task=$1 data=$2 name=$3 seed=$4
    shift 4
    local report=reports/$task/$name.json
    [ -f "$report" ] && return
    rm -rf "${runs:?}/$name"
    python "scripts/train_$task.py" --data "$data" --out "$runs/$name" --seed "$seed" --patience 0 --workers 0 "$@"
    python "scripts/evaluate_$task.py" --data "$data" --model "$runs/$name" \
        --report "$report" --confusion "$runs/$name/confusion.png"
}
