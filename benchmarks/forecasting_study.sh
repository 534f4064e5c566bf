#!/usr/bin/env bash
# The study of docs/results: cells x windows on both series, two seeds, and the 132-month forecast.
#
#     bash benchmarks/forecasting_study.sh SERIES RUNS
#
# SERIES holds sunspots.csv and air_passengers.csv; RUNS gets the run folders; reports/ gets a file a row.
# Every setting was chosen on val (`evaluate_forecasting.py --split val`); this evaluates on test.
set -euo pipefail
series=$1 runs=$2
sunspots=(--data "$series/sunspots.csv" --date-column Date --value-column "Monthly Mean Total Sunspot Number")
passengers=(--data "$series/air_passengers.csv" --date-column Month --value-column "#Passengers")
one_step=(--horizon 1 --base none --transform sqrt --learning-rate 5e-3 --val 300 --patience 0)
two_years=(--horizon 24 --base seasonal_naive --transform log --test 24 --val 24 --epochs 60 --batch-size 16 --patience 0)
cycle=(--window 180 --horizon 132 --lags 150 --val 300 --epochs 15 --patience 0)

study() { # name, seed, series flags and training flags ...
    local name=$1 seed=$2
    shift 2
    python scripts/train_forecasting.py --out "$runs/${name}_$seed" --seed "$seed" "$@"
}

score() { # name, origins, series flags ...
    local name=$1 origins=$2
    shift 2
    for seed in 0 1; do
        python scripts/evaluate_forecasting.py --model "$runs/${name}_$seed" --origins "$origins" "$@" \
            --report "reports/forecasting/${name}_seed$seed.json"
    done
    python scripts/evaluate_forecasting.py --model "$runs/${name}_0,$runs/${name}_1" --origins "$origins" "$@" \
        --report "reports/forecasting/mean_${name}.json"
}

for seed in 0 1; do study cycle "$seed" "${sunspots[@]}" "${cycle[@]}"; done
score cycle 8 "${sunspots[@]}"
for cell in lstm gru rnn; do
    for window in 29 60 132; do
        for seed in 0 1; do
            study "sunspots_${cell}_$window" "$seed" "${sunspots[@]}" "${one_step[@]}" --cell "$cell" --window "$window"
        done
        score "sunspots_${cell}_$window" 0 "${sunspots[@]}"
    done
    for window in 12 24 36; do
        for seed in 0 1; do
            study "passengers_${cell}_$window" "$seed" "${passengers[@]}" "${two_years[@]}" --cell "$cell" --window "$window"
        done
        score "passengers_${cell}_$window" 0 "${passengers[@]}"
    done
done
# the cell and the two windows with the best val_rmse over two seeds, with three seeds more
all=
for window in 29 60; do
    models=
    for seed in 0 1 2 3 4; do
        [ "$seed" -lt 2 ] || study "sunspots_lstm_$window" "$seed" "${sunspots[@]}" "${one_step[@]}" --cell lstm --window "$window"
        models="$models,$runs/sunspots_lstm_${window}_$seed"
    done
    all="$all$models"
    python scripts/evaluate_forecasting.py --model "${models#,}" "${sunspots[@]}" --split val --report "reports/forecasting/choice_$window.json"
done
python scripts/evaluate_forecasting.py --model "${all#,}" "${sunspots[@]}" --split val --report reports/forecasting/choice_29_60.json
# what is best on val, once on test
python scripts/evaluate_forecasting.py --model "${all#,}" "${sunspots[@]}" --report reports/forecasting/chosen_sunspots.json
