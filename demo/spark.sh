#!/bin/sh
# The walk-through on Spark: a real KDC, a real secure HDFS, YARN beside it, and the job
# of demo/poets.json as a Spark application whose executors are containers of YARN.
#
#   demo/spark.sh [WORK]            default: .cache/demo
#   KEEP=1 demo/spark.sh [WORK]     leaves the KDC, HDFS and YARN running
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "${1:-$root/.cache/demo}"
work=$(CDPATH='' cd -- "${1:-$root/.cache/demo}" && pwd)
cd "$root"

run() {
  if [ -t 1 ]; then printf '\n\033[1m$ %s\033[0m\n' "$*"; else printf '\n$ %s\n' "$*"; fi
  "$@"
}

stop() {
  python tools/hdfs/hdfs.py down "$work/yarn" || true
  python tools/kdc/kdc.py --local "$work/kdc" --secret-name tensorflow_keytab teardown ||
    true
}

echo "1. Programs: MIT Kerberos, a JDK, Maven, Spark."
run python tools/packages.py krb5 jdk maven
run python -m pip install --quiet --disable-pip-version-check 'pyspark>=4,<5'

[ -n "${KEEP:-}" ] || trap stop EXIT INT TERM

echo "2. The KDC, and the keytab of tensorflow@LOCAL as a secret."
run python tools/kdc/kdc.py --local "$work/kdc" --secret-name tensorflow_keytab \
  deploy demo/tensorflow-principals.txt

echo "3. Pictures, a secure HDFS with them in it, and YARN."
if [ ! -d "$work/flower_photos" ]; then
  run python demo/flowers.py "$work/flower_photos" --per_label 150 --odd
fi
run python tools/hdfs/hdfs.py up "$work/yarn" --kdc "$work/kdc" --yarn \
  --put "$work/flower_photos=/tensorflow_input_data/flower_photos"

echo "4. The zip that the containers unpack."
run python build_zip.py --output "$work/dist"

echo "5. The job: two executors of one core."
export HADOOP_CONF_DIR="$work/yarn/client" KRB5_CONFIG="$work/kdc/krb5.conf"
# A site has Spark's jars on its machines, too; else each job uploads 400 MB.
jars=$(python -c "import os, pyspark; print(os.path.dirname(pyspark.__file__))")/jars
set -- demo/poets.json --secrets "$work/kdc/secrets" --python "$(command -v python)" \
  --conf "spark.yarn.jars=local:$jars/*" --set worker.count=2 --set worker.cpus=1 \
  --set worker.mem=1536 --set "service.job_url=$(ls "$work"/dist/poets-*.zip)"
run poets spark submit "$@" --dry-run
run poets spark submit "$@"

echo "6. What came out: read by us, and by Hadoop's own client."
export POETS_KERBEROS_PRINCIPAL=tensorflow@LOCAL \
  KRB5_CLIENT_KTNAME="$work/kdc/secrets/__dcos_base64__tensorflow_keytab"
run poets results hdfs://default/tensorflow/test_run
run python tools/hdfs/hdfs.py shell "$work/yarn" -- -ls /tensorflow/test_run \
  '/tensorflow/test_run/bottlenecks/*'
run poets label "$work/flower_photos/roses/roses_00001.jpg" \
  --model hdfs://default/tensorflow/test_run/retrained_graph.pb
