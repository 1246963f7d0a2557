#!/bin/sh
# The walk-through on a real Kubernetes of this machine: train, look at TensorBoard, sweep
# 3 x 3, serve, ask, and the same by Argo's workflow. `make kubernetes` and `make images`
# first. Every command is shown before it runs, to be repeated by hand.
#
#   demo/kubernetes.sh [WORK]            default: .cache/demo
#   KEEP=1 demo/kubernetes.sh [WORK]     leaves the cluster and the namespace as they are
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "${1:-$root/.cache/demo}"
work=$(CDPATH='' cd -- "${1:-$root/.cache/demo}" && pwd)
cd "$root"
image=example.com/poets:1.0.0

show() {
  if [ -t 1 ]; then printf '\n\033[1m$ %s\033[0m\n' "$*"; else printf '\n$ %s\n' "$*"; fi
}
run() {
  show "$*"
  "$@"
}
on_cluster() { python tools/kubernetes/kubernetes.py run -- "$@"; }
kubectl() {
  show "kubectl $*"
  on_cluster kubectl --namespace demo "$@"
}
argo() {
  show "argo $*"
  on_cluster argo "$@"
}
apply() { # what a command prints
  show "$* | kubectl apply -f -"
  "$@" | on_cluster kubectl apply -f -
}
wait_for() { on_cluster kubectl --namespace demo wait --timeout=15m "$@" >/dev/null; }
# A request to a Service by way of the API server, as kubectl port-forward would do.
ask() {
  service=$1 path=$2
  shift 2
  [ $# -eq 0 ] && set -- get --raw || set -- create -f "$1" --raw
  kubectl "$@" "/api/v1/namespaces/demo/services/$service:http/proxy$path"
}
stop() {
  on_cluster kubectl delete namespace demo --ignore-not-found --wait=true || true
  on_cluster kubectl delete pv disk-retrain --ignore-not-found || true
  python tools/kubernetes/kubernetes.py down
}

echo "1. The cluster, with the training operator and Argo."
run python tools/kubernetes/kubernetes.py up --addons
[ -n "${KEEP:-}" ] || trap stop EXIT INT TERM

echo "2. Pictures on a claim, which is a folder of this machine."
[ -d "$work/flower_photos" ] ||
  run python demo/flowers.py "$work/flower_photos" --per_label 150 --odd
disk=$work/kubernetes
rm -rf "$disk" && mkdir -p "$disk/s3/photos"
cp -R "$work/flower_photos" "$disk/images"
cp -R "$work/flower_photos" "$disk/s3/photos/images"
chown -R 1000:1000 "$disk"
on_cluster kubectl create namespace demo --dry-run=client -o yaml |
  on_cluster kubectl apply -f -
sed "s|/srv/poets|$disk|" demo/kubernetes/disk.yaml | on_cluster kubectl apply -f -

echo "3. Two workers train; the options file is that of DC/OS."
# Small, as all pods share the cores of this machine.
set -- --namespace demo --image "$image" --storage pvc:disk-retrain \
  --set worker.cpus=0.3 --set worker.mem=1500 --set worker.disk=512 \
  --set tensorboard.cpus=0.2 --set tensorboard.mem=1000 \
  --set service.use_tensorboard=true --arg architecture=scattering_128
apply poets kubernetes manifests demo/poets.json "$@" --set worker.count=2 \
  --set service.name=flowers --set service.shared_filesystem= \
  --set service.hdfs.config_uri= --set service.security.kerberos.enabled=false \
  --arg image_dir=/tf-output/images --arg how_many_training_steps=200
wait_for --for=condition=Complete job/flowers
kubectl get job,pods
run poets results "$disk"

echo "4. TensorBoard shows it."
wait_for --for=condition=Available deployment/flowers-tensorboard
ask flowers-tensorboard /data/runs
echo

echo "5. The sweep: nine jobs, one TensorBoard."
apply poets kubernetes manifests deploy/kubernetes/sweep.json "$@" \
  --arg how_many_training_steps=50 \
  --grid learning_rate=0.001,0.01,1.0 --grid train_batch_size=25,50,100
wait_for --for=condition=Complete job -l app.kubernetes.io/component=worker
kubectl get jobs
ls -d "$disk"/image-retraining-*/saved_models/1

echo "6. The model is served. Which flower is this?"
apply poets kubernetes serving /tf-output --name classifier --namespace demo \
  --image "$image" --storage pvc:disk-retrain --cpus 500m --mem 1500
wait_for --for=condition=Available deployment/classifier
ask classifier /v1/models/classifier:classify "$disk/images/roses/roses_00001.jpg"
echo

echo "7. The same as Argo's workflow, on S3: train, serve, clean up."
# Two cores are too few for all at once.
kubectl delete deployment classifier flowers-tensorboard tensorboard-hyperparam-sweep
kubectl apply -f demo/kubernetes/s3.yaml -f deploy/kubernetes/argo/tf-user.yaml
wait_for --for=condition=Available deployment/s3
sed 's/cpu: "2"/cpu: 300m/g' deploy/kubernetes/argo/workflow.yaml >"$work/workflow.yaml"
argo submit "$work/workflow.yaml" --namespace demo --wait \
  -p namespace=demo -p job-name=flowers -p model-name=mobile -p image="$image" \
  -p tf-worker=2 -p image-dir=s3://photos/images -p s3-train-base-url=s3://photos/models \
  -p model-architecture=scattering_128 -p model-train-steps=200 \
  -p model-serving-servicetype=ClusterIP -p s3-endpoint=s3:9000 -p s3-use-https=0 \
  -p aws-region=us-east-1
kubectl get workflows
wait_for --for=condition=Available deployment/mobile-flowers
ask mobile-flowers /v1/models/mobile-flowers:classify \
  "$disk/images/tulips/tulips_00001.jpg"
echo
