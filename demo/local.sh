#!/bin/sh
# The walk-through on one machine: the job of demo/poets.json on drawn flowers, on the
# local file system. Every command is shown before it runs, to be repeated by hand.
#
#   demo/local.sh [WORK]      default: .cache/demo
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "${1:-$root/.cache/demo}"
work=$(CDPATH='' cd -- "${1:-$root/.cache/demo}" && pwd)
cd "$root"

show() {
  if [ -t 1 ]; then printf '\n\033[1m$ %s\033[0m\n' "$*"; else printf '\n$ %s\n' "$*"; fi
}

run() {
  show "$@"
  "$@"
}

echo "1. Pictures: five kinds of drawn flowers, and a few odd files among them."
if [ ! -d "$work/flower_photos" ]; then
  run python demo/flowers.py "$work/flower_photos" --per_label 150 --odd
fi

echo "2. The zip that the tasks of the job fetch."
run python build_zip.py --output "$work/dist"

echo "3. The job, as DC/OS runs it; only the addresses are this machine's."
rm -rf "$work/sandbox"
run poets dcos run demo/poets.json --sandbox "$work/sandbox" \
  --set "service.job_url=$(ls "$work"/dist/poets-*.zip)" \
  --set "service.shared_filesystem=$work/test_run" \
  --set service.hdfs.config_uri= \
  --set service.security.kerberos.enabled=false \
  --arg "image_dir=$work/flower_photos"

echo "4. What came out."
run poets logs "$work/sandbox/worker-0/stderr"
run poets results "$work/test_run"
run poets label "$work/flower_photos/roses/roses_00001.jpg" \
  --model "$work/test_run/retrained_graph.pb"

echo
echo "5. The model in use: a server with a page, asked over REST, then ended."
set -- poets serve "flowers=$work/test_run" --port 0 --grpc_port -1
show "$@"
"$@" > "$work/serve.log" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null || true' EXIT
url=
while [ -z "$url" ] && kill -0 "$server" 2> /dev/null; do
  sleep 0.2
  url=$(sed -n 's/.*serving on \(http[^ ]*\).*/\1/p' "$work/serve.log")
done
cat "$work/serve.log"
[ -n "$url" ]
flowers=$work/flower_photos
if command -v curl > /dev/null; then
  run curl --silent --show-error --fail -F "image=@$flowers/roses/roses_00001.jpg" \
    "${url}v1/models/flowers:classify"
  echo
fi
if command -v chromium > /dev/null && python -c 'import playwright' 2> /dev/null; then
  run python demo/screenshot.py "$url" "$work/serve.png" \
    "$flowers/roses/roses_00002.jpg" "$flowers/daisy/daisy_00002.jpg" \
    "$flowers/sunflowers/sunflowers_00002.jpg" "$flowers/tulips/tulips_00001.jpg"
  run python demo/screenshot.py "$work/test_run/report.html" "$work/report.png"
else
  echo "No screenshot: chromium and playwright are not both installed."
fi
run kill "$server"
wait "$server"
trap - EXIT
tail -n 1 "$work/serve.log"

echo
echo "The results are in  $work/test_run"
echo "The report, for a browser:  $work/test_run/report.html"
echo "Look at them with   poets results $work/test_run"
echo "                    poets serve flowers=$work/test_run"
echo "                    tensorboard --logdir $work/test_run/training_summaries"
