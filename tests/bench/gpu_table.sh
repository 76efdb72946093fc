#!/bin/sh
# Measures alprd on a machine with a GPU and TensorRT: engines first, then what RESULTS.md shows.
#
#   PYTHON=python3 OUT=folder [CLIPS=folder] tests/bench/gpu_table.sh PART...
#
# Run it in the repository's root. Parts, in this order: build, rates, parity, scaling, memory,
# streams, profile, graphs, large (models in LARGE_MODELS, `engines.training.detector_export
# --input-size`), int8 (models in INT8_MODELS, which have Q/DQ files), attributes. Each writes
# $OUT/PART.jsonl, a line of JSON per run (profile: a text), and says it on standard output.
# SECONDS_EACH and ROUNDS say how long each figure is measured, STREAM_ROUNDS, STREAM_CLIPS and
# STREAM_CAMERAS which streams are. Engines are kept in ENGINES/8 (which tests/gpu can share:
# ALPRD_TEST_ENGINES_DIR) and ENGINES/32, by their largest batch.
set -eu
python=${PYTHON:-python3}
out=${OUT:?the folder for the figures}
engines=${ENGINES:-/tmp/alprd-engines}
seconds=${SECONDS_EACH:-0.8}
rounds=${ROUNDS:-3}
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}"
failed=0
mkdir -p "$out" "$engines/8" "$engines/32"

bench() { # PART OPTION... : one line of JSON, and the same as a table
    part=$1
    shift
    echo "== $part: alprd bench $*"
    if "$python" -m alprd bench "$@" --json >"$out/last.json"; then
        cat "$out/last.json" >>"$out/$part.jsonl"
        "$python" tests/bench/bench_text.py <"$out/last.json"
    else # the other cases are worth having: a machine with a GPU is not always there
        echo "== FAILED: alprd bench $*"
        failed=1
    fi
    rm -f "$out/last.json"
}

build() { # MAX_BATCH PRECISION NAME...
    batch=$1 precision=$2
    shift 2
    echo "== build, batch $batch, $precision: $*"
    "$python" -m alprd engines build --dir "$engines/$batch" --max-batch "$batch" \
        --precision "$precision" "$@"
}

gpu="--backend tensorrt --seconds $seconds --rounds $rounds"
clips=${STREAM_CLIPS:-uk-approach toll-gate}

for part in "$@"; do
    rm -f "$out/$part.jsonl"
    began=$(date +%s)
    # The options of a list are meant to fall apart.
    # shellcheck disable=SC2086
    case $part in
    build)
        build 8 fp16 plate-detector plate-reader
        # The reader's engine is the same for both, and what was measured of kernels serves again.
        for file in "$engines/8/plate-reader.fp16.plan" "$engines"/8/timing-*.cache; do
            [ -e "$engines/32/${file##*/}" ] || cp -p "$file" "$engines/32/"
        done
        build 32 fp16 plate-detector plate-reader
        ;;
    rates) # acceptance of the rate table, and of the overlap
        bench rates $gpu --engines-dir "$engines/8" --table --parallel --sequential --batch 8 \
            --cameras 16
        ;;
    parity) # the same two models, the same frames, one run: TensorRT and ONNX Runtime
        for turn in 1 2; do
            bench parity $gpu --rounds 1 --engines-dir "$engines/8" --batch 8 --rate 1
            bench parity --backend onnxruntime --threads 0 --batch 8 --rate 1 --rounds 1 --seconds 2
            bench parity --backend onnxruntime --threads 1 --batch 8 --rate 1 --rounds 1 --seconds 2
        done
        ;;
    scaling)
        bench scaling $gpu --engines-dir "$engines/32" --max-batch 32 --rate 1 --cameras 64 \
            --batch 1 2 4 8 16 32
        bench scaling $gpu --engines-dir "$engines/32" --max-batch 32 --rate 1 --batch 32 \
            --cameras 1 2 4 8 16 32 64
        ;;
    memory) # a process that has done nothing else, as configured by default
        bench memory $gpu --rounds 1 --engines-dir "$engines/8" --batch 8 --rate 1
        bench memory $gpu --rounds 1 --engines-dir "$engines/8" --batch 1 --max-batch 8 --rate 1
        ;;
    streams)
        for clip in $clips; do
            # A run for each: a clip of 20 s takes 32 cameras a minute, and what was measured stays.
            for cameras in ${STREAM_CAMERAS:-1 4 16 32}; do
                bench streams --backend tensorrt --engines-dir "$engines/8" --batch 8 \
                    --rounds "${STREAM_ROUNDS:-2}" --cameras "$cameras" --decode nvdec ffmpeg \
                    --source "${CLIPS:?the folder of the clips}/$clip.mp4"
            done
        done
        ;;
    profile) # what Python does in the thread that has the models
        for rate in 1 0; do
            "$python" tests/bench/bench_profile.py --engines-dir "$engines/8" --rate $rate
        done >"$out/profile.txt"
        grep "frames/s" "$out/profile.txt"
        ;;
    graphs) # an engine in one call, and layer by layer, in turns
        for turn in 1 2; do
            for way in "" --no-cuda-graphs; do
                bench graphs $gpu --engines-dir "$engines/8" --rate 0 1 --batch 1 8 --cameras 16 $way
            done
        done
        ;;
    large) # the rate table with a detector of a larger input: a GPU that the processor waits for
        "$python" -m alprd engines build --dir "$engines/large" --models-dir "${LARGE_MODELS:?}" \
            plate-detector plate-reader
        bench large $gpu --engines-dir "$engines/large" --models-dir "$LARGE_MODELS" --table \
            --parallel --sequential --batch 8 --cameras 16
        ;;
    int8)
        build 8 int8 ${INT8_MODELS:+--models-dir "$INT8_MODELS"} plate-detector plate-reader
        bench int8 $gpu --engines-dir "$engines/8" --precision int8 --batch 8 --rate 0 1 \
            ${INT8_MODELS:+--models-dir "$INT8_MODELS"}
        bench int8 $gpu --engines-dir "$engines/8" --precision fp16 --batch 8 --rate 0 1
        ;;
    attributes) # what it costs to say what vehicles are: streams without and with
        build 8 fp16 vehicle-attributes
        "$python" -m alprd engines verify --dir "$engines/8" --max-batch 8 vehicle-attributes
        for clip in $clips; do
            for asked in "" "--attributes vehicle-attributes"; do
                bench attributes --backend tensorrt --engines-dir "$engines/8" --batch 8 \
                    --rounds "${STREAM_ROUNDS:-2}" --cameras 4 --decode nvdec ffmpeg \
                    --source "${CLIPS:?the folder of the clips}/$clip.mp4" $asked
            done
        done
        ;;
    *)
        echo "no such part: $part" >&2
        exit 2
        ;;
    esac
    echo "== $part took $(($(date +%s) - began)) s"
done
exit $failed
