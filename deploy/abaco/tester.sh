#!/usr/bin/env bash
# Runs the image on this machine as Abaco does: any user, the message in MSG.
#
#   deploy/abaco/tester.sh                              the message in tester.env
#   deploy/abaco/tester.sh https://example.org/rose.jpg
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/config.rc"
message=(--env-file "$here/tester.env")
[ $# -eq 0 ] || message=(--env "MSG=$1")
SECONDS=0
code=0
# No -t: a terminal would merge stderr into stdout.
"${DOCKER:-docker}" run --rm --user 12345:12345 --read-only "${message[@]}" \
  "$huborg/$hubimage:latest" || code=$?
echo "tester-runtime: $SECONDS seconds" >&2
exit "$code"
