#!/usr/bin/env bash
# Runs the tools of an image on the sources here, as the Makefiles of many projects do, and checks
# whose the files are that come of it.
#   TOOL_IMAGE (with bash and python3)
set -euo pipefail

export MSYS_NO_PATHCONV=1
run() { docker run --rm -v "$PWD":/src -w /src "$@"; }

printf '{ "name": "shop", "version": "2.7.1" }\n' >package.json
VERSION="$(run "$TOOL_IMAGE" python3 -c 'import json; print(json.load(open("package.json"))["version"])')"
[ "$VERSION" = 2.7.1 ]
VERSION="$(docker run --rm -i "$TOOL_IMAGE" python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])' <package.json)"
[ "$VERSION" = 2.7.1 ]
docker run --rm -i "$TOOL_IMAGE" bash -s -- one "two words" <<'EOF' | grep -qx '2: two words'
echo "$#: $2"
EOF

# Written by the container's root: the user's, as an ordinary user.
run "$TOOL_IMAGE" sh -c 'mkdir -p out && echo built >out/app && chmod 755 out/app'
[ "$(stat -c %u:%g out/app)" = "$(id -u):$(id -g)" ]
# Written by one's own number.
if [ "$(id -u)" = 0 ]; then user=(--user 0:0); else user=(--userns keep-id --user "$(id -u):$(id -g)"); fi
run "${user[@]}" -e HOME=/tmp "$TOOL_IMAGE" sh -c 'echo "$(id -u)" >out/uid'
[ "$(cat out/uid)" = "$(id -u)" ]
[ "$(stat -c %u out/uid)" = "$(id -u)" ]
run -v /etc/passwd:/etc/passwd:ro -v /etc/group:/etc/group:ro "${user[@]}" "$TOOL_IMAGE" id -un | grep -qx "$(id -un)"

# Read-only sources, a separate place for what is written, a cache between runs.
docker run --rm -v "$PWD:/src:ro" -v "$PWD/out:/out" -w /src "$TOOL_IMAGE" sh -c 'cp package.json /out/copy; ! touch /src/x 2>/dev/null'
cmp package.json out/copy
docker run --rm --mount type=bind,source="$PWD",target=/src,readonly --mount type=tmpfs,target=/tmp --read-only -w /src "$TOOL_IMAGE" sh -c 'touch /tmp/x && ! touch /var/x 2>/dev/null'
for expected in 1 2; do
  n="$(docker run --rm -v "toolchain-cache:/cache" "$TOOL_IMAGE" sh -c 'echo >>/cache/runs; wc -l </cache/runs')"
  [ "$n" = "$expected" ]
done

# Exit codes and streams are the tool's own.
code=0; run "$TOOL_IMAGE" sh -c 'echo out; echo err >&2; exit 5' >stdout 2>stderr || code=$?
[ "$code" = 5 ] && [ "$(cat stdout)" = out ] && [ "$(cat stderr)" = err ]
code=0; run "$TOOL_IMAGE" no-such-program 2>/dev/null || code=$?
[ "$code" = 127 ]
code=0; run --entrypoint /src/package.json "$TOOL_IMAGE" 2>/dev/null || code=$?
[ "$code" = 126 ]
code=0; docker run --rm --no-such-flag "$TOOL_IMAGE" 2>/dev/null || code=$?
[ "$code" = 125 ]
code=0; timeout -s INT 1 docker run --rm --init "$TOOL_IMAGE" sleep 60 || code=$?
[ "$code" = 124 ]
head -c 3000000 /dev/urandom >blob
docker run --rm -i "$TOOL_IMAGE" sh -c 'cat; echo done >&2' <blob 2>/dev/null | cmp - blob
# A reader that has had enough ends the command; the container goes on to its end.
{ docker run --rm "$TOOL_IMAGE" seq 200000 2>/dev/null || true; } | head -n 1 | grep -qx 1

for _ in $(seq 300); do [ -z "$(docker ps -aq)" ] && break; sleep 0.1; done

docker volume rm toolchain-cache >/dev/null
[ -z "$(docker ps -aq)" ]
rm -rf out package.json stdout stderr blob
echo OK
