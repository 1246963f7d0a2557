#!/usr/bin/env bash
# Pushes the image that build.sh has built, under both of its tags.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/config.rc"
for tag in "$(<"$here/VERSION")" latest; do
  "${DOCKER:-docker}" push "$huborg/$hubimage:$tag"
done
