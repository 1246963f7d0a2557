#!/usr/bin/env bash
# Builds the actor's image with a model inside; config.rc names the image.
#
#   deploy/abaco/build.sh run/retrained_graph.tflite
#   deploy/abaco/build.sh saved_model/1 \
#       --build-arg REQUIREMENTS=deploy/kubernetes/requirements.txt
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] && [ -e "$1" ] || { echo "usage: $0 MODEL [BUILD OPTIONS]" >&2; exit 2; }
source "$here/config.rc"
version=$(<"$here/VERSION")

rm -rf "$here/model"
if [ -d "$1" ]; then
  cp -R "$1" "$here/model"
else
  mkdir "$here/model"
  cp "$1" "$here/model/"
  run=$(dirname "$1")/metrics.json  # has the threshold for messages with "reject"
  [ ! -e "$run" ] || cp "$run" "$here/model/"
fi
shift

"${DOCKER:-docker}" build -f "$here/Dockerfile" "$@" \
  -t "$huborg/$hubimage:$version" -t "$huborg/$hubimage:latest" "$here/../.."
