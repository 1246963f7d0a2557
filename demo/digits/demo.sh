#!/bin/sh
# Digits from the drawing to the answers of an OpenWhisk action, on this machine.
# Every command is shown before it runs, to be repeated by hand.
#
#   demo/digits/demo.sh [WORK]      default: .cache/digits
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
work=${1:-$root/.cache/digits}
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd)
cd "$root"
port=${FLASK_PROXY_PORT:-8080}

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

echo "1. Pictures: ten drawn digits."
[ -d "$work/digits" ] || run python demo/digits/draw.py "$work/digits"

echo "2. A classifier, also as ONNX."
run poets retrain "$work/digits" --architecture scattering_96 --onnx \
  --output_dir "$work/run"

echo "3. The action, as OpenWhisk starts and calls it."
export FLASK_PROXY_PORT="$port"
python -m poets.serve.openwhisk > "$work/action.log" 2>&1 &
action=$!
trap 'kill "$action"' EXIT
run curl --silent --fail --retry 60 --retry-delay 1 --retry-connrefused \
  -d "{\"value\": {\"env\": {\"MODEL\": \"$work/run/retrained_graph.onnx\"}}}" \
  "http://localhost:$port/init"
for digit in 3 6; do
  echo "{\"value\": {\"image\": \"$(base64 "$work/digits/$digit/${digit}_0001.png" |
    tr -d '\n')\"}}" > "$work/$digit.json"
  run curl --silent --show-error --fail -d "@$work/$digit.json" "http://localhost:$port/run"
  echo
done
echo "The action's log: $work/action.log"
