#!/usr/bin/env bash
# A build container driven through its standard input, as cibuildwheel does: commands in, output
# and exit codes out, files by docker cp as streams.
#   TOOL_IMAGE (with bash and python3)
set -euo pipefail

name="cibuildwheel-$$"
mkdir -p project dist
printf 'print("setup")\n' >project/setup.py
docker version -f '{{json .}}' | jq -e '.Client.Version' >/dev/null
docker info --format '{{json .}}' | jq -e '.Architecture' >/dev/null

docker create \
  --env=CIBUILDWHEEL --env=SOURCE_DATE_EPOCH=1700000000 \
  --name="$name" --interactive --volume="$PWD/project:/host:ro" --network=host \
  "$TOOL_IMAGE" /bin/bash >/dev/null
trap 'docker rm --force -v "$name" >/dev/null 2>&1 || true' EXIT

coproc SHELL_IN_CONTAINER { docker start --attach --interactive "$name"; }
in=${SHELL_IN_CONTAINER[1]} out=${SHELL_IN_CONTAINER[0]}
# call COMMAND: its output, then its exit code
call() {
  local mark="end-$RANDOM$RANDOM" line
  printf '%s\nprintf "%%04d%s\\n" $?\n' "$*" "$mark" >&"$in"
  output=
  while IFS= read -r line <&"$out"; do
    case "$line" in *"$mark") output+="${line%????"$mark"}"; status=$((10#$(printf %s "${line%"$mark"}" | tail -c 4))); return ;; esac
    output+="$line"$'\n'
  done
  echo "the container's shell has ended" >&2
  exit 1
}

call 'uname -s'; [ "$output" = $'Linux\n' ]
call 'cd /tmp; pwd'; [ "$output" = $'/tmp\n' ]
call 'pwd'; [ "$output" = $'/tmp\n' ]
call '(exit 9)'; [ "$status" = 9 ]
call 'echo $SOURCE_DATE_EPOCH'; [ "$output" = $'1700000000\n' ]
call 'seq 100000 | tail -n 2'; [ "$output" = $'99999\n100000\n' ]

# Folders in and out, as archives through pipes
call 'mkdir -p /project'
tar -C project -cf - . | docker cp - "$name:/project"
call 'python3 /project/setup.py'; [ "$output" = $'setup\n' ]
call 'mkdir -p /output && for v in 310 311; do head -c 100000 /dev/zero | tr "\0" $((v % 10)) >/output/pkg-cp$v.whl; done; ls /output'
[ "$output" = $'pkg-cp310.whl\npkg-cp311.whl\n' ]
docker exec -i "$name" tar -cC /output -f - . | tar -xC dist
docker cp "$name":/output/pkg-cp311.whl - | tar -xO | cmp - dist/pkg-cp311.whl
docker cp - "$name":/ < <(docker cp "$name":/output -)
[ "$(stat -c %s dist/pkg-cp310.whl)" = 100000 ]

printf 'exit 0\n' >&"$in"
wait "$SHELL_IN_CONTAINER_PID"
[ "$(docker inspect -f '{{.State.ExitCode}}' "$name")" = 0 ]
docker rm --force -v "$name"
rm -rf project dist
