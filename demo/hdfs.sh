#!/bin/sh
# The walk-through on one machine, with a real KDC and a real secure HDFS: the job of
# demo/poets.json on drawn flowers. Only addresses are this machine's. Every command is
# shown before it runs, to be repeated by hand.
#
#   demo/hdfs.sh [WORK]            default: .cache/demo
#   KEEP=1 demo/hdfs.sh [WORK]     leaves the KDC and HDFS running
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "${1:-$root/.cache/demo}"
work=$(CDPATH='' cd -- "${1:-$root/.cache/demo}" && pwd)
cd "$root"

run() {
  if [ -t 1 ]; then printf '\n\033[1m$ %s\033[0m\n' "$*"; else printf '\n$ %s\n' "$*"; fi
  "$@"
}

# A value of `hdfs.py status --json`: the addresses are free ports, chosen at `up`.
status() {
  python tools/hdfs/hdfs.py status "$work/hdfs" --json |
    python -c "import json, sys; print(json.load(sys.stdin)['$1'])"
}

stop() {
  python tools/hdfs/hdfs.py down "$work/hdfs" || true
  python tools/kdc/kdc.py --local "$work/kdc" --secret-name tensorflow_keytab teardown ||
    true
}

echo "1. Programs: MIT Kerberos, a JDK, Maven."
run python tools/packages.py krb5 jdk maven

[ -n "${KEEP:-}" ] || trap stop EXIT INT TERM

echo "2. The KDC, and the keytab of tensorflow@LOCAL as a secret."
run python tools/kdc/kdc.py --local "$work/kdc" --secret-name tensorflow_keytab \
  deploy demo/tensorflow-principals.txt

echo "3. Pictures, and a secure HDFS with them in it."
if [ ! -d "$work/flower_photos" ]; then
  run python demo/flowers.py "$work/flower_photos" --per_label 150 --odd
fi
run python tools/hdfs/hdfs.py up "$work/hdfs" --kdc "$work/kdc" \
  --put "$work/flower_photos=/tensorflow_input_data/flower_photos"
run python tools/hdfs/hdfs.py shell "$work/hdfs" -- -ls /tensorflow_input_data/flower_photos
kdc=$(status kdc)
config_uri=$(status config_uri)

echo "4. The zip that the tasks of the job fetch."
run python build_zip.py --output "$work/dist"

echo "5. Is all well? Then the job, as DC/OS runs it."
set -- --secrets "$work/kdc/secrets" \
  --set "service.hdfs.config_uri=$config_uri" \
  --set "service.security.kerberos.kdc.hostname=${kdc%:*}" \
  --set "service.security.kerberos.kdc.port=${kdc##*:}"
run poets doctor --options demo/poets.json "$@"
rm -rf "$work/sandbox-hdfs"
run poets dcos run demo/poets.json --sandbox "$work/sandbox-hdfs" \
  --set "service.job_url=$(ls "$work"/dist/poets-*.zip)" "$@"

echo "6. What came out: read by us, and by Hadoop's own client."
export POETS_HADOOP_CONF="$work/hdfs/client" KRB5_CONFIG="$work/kdc/krb5.conf" \
  POETS_KERBEROS_PRINCIPAL=tensorflow@LOCAL \
  KRB5_CLIENT_KTNAME="$work/kdc/secrets/__dcos_base64__tensorflow_keytab"
run poets logs "$work/sandbox-hdfs/worker-0/stderr"
run poets results hdfs://default/tensorflow/test_run
run python tools/hdfs/hdfs.py shell "$work/hdfs" -- -ls /tensorflow/test_run
run poets label "$work/flower_photos/roses/roses_00001.jpg" \
  --model hdfs://default/tensorflow/test_run/retrained_graph.pb

echo "7. The same pictures in packs: few large files, the same model. Then both rates."
run poets pack hdfs://default/tensorflow_input_data/flower_photos \
  hdfs://default/tensorflow/flower_packs
run poets doctor hdfs://default/tensorflow/flower_packs --all
for images in tensorflow_input_data/flower_photos tensorflow/flower_packs; do
  rm -rf "$work/cache"
  run env POETS_CACHE="$work/cache" poets retrain "hdfs://default/$images" \
    --output_dir "$work/run_of_$(basename "$images")" --architecture scattering_128 \
    --bottleneck_dir "$work/cache/bottlenecks" --how_many_training_steps 500
done
run cmp "$work/run_of_flower_photos/retrained_graph.pb" \
  "$work/run_of_flower_packs/retrained_graph.pb"
for images in flower_photos flower_packs; do
  python - "$work/run_of_$images/metrics.json" "$images" <<'RATE'
import json, sys
metrics = json.load(open(sys.argv[1]))
rate = metrics["images"]["used"] / metrics["duration_s"]["bottlenecks"]
print(f"{sys.argv[2]}: {rate:,.0f} pictures a second")
RATE
done

echo
echo "The report is in HDFS:  hdfs://default/tensorflow/test_run/report.html"
