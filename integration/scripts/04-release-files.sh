#!/usr/bin/env bash
# Takes the files of a release out of an image, the ways that people do it.
#   BASE_IMAGE
set -euo pipefail

mkdir -p src dist
printf 'int main(void) { return 0; }\n' >src/main.c
printf 'FROM %s AS build\nCOPY src /src\nRUN mkdir -p /out/lib && cp /src/main.c /out/app && chmod 755 /out/app && ln -s ../app /out/lib/app.1 && echo docs > /out/README\nFROM scratch AS artifacts\nCOPY --from=build /out /\n' "$BASE_IMAGE" >Dockerfile

docker build --target build -t release-build .

# create, cp, rm
id=$(docker create release-build)
trap 'docker rm -fv "$id" >/dev/null 2>&1 || true; rm -rf src dist Dockerfile' EXIT
docker cp "$id":/out/app dist/
docker cp "$id:/out/." dist/all
docker cp -L "$id":/out/lib/app.1 dist/followed
docker cp "$id:/out/README" - | tar -xO >dist/README
docker rm -v "$id" >/dev/null
test -x dist/app
cmp src/main.c dist/app
cmp dist/app dist/followed
test -L dist/all/lib/app.1
test "$(cat dist/README)" = docs
test "$(stat -c %u dist/app)" = "$(id -u)"

# the other way round: into a container that has not started, then run it
id="$(docker create -w /in release-build sh -c 'tar cf - . | wc -c; sha256sum app >app.sha256')"
docker cp dist/all "$id":/in
docker cp - "$id":/in < <(tar -C dist -c followed)
docker start -a "$id" >/dev/null
docker cp "$id":/in/app.sha256 dist/
(cd dist && sha256sum --quiet -c app.sha256)
docker diff "$id" | grep -qx 'A /in/app.sha256'
if docker cp "$id":/in/nothing dist/ 2>dist/error; then exit 1; fi
grep -qi 'could not find the file' dist/error
docker rm "$id" >/dev/null

# no container at all
docker build --target artifacts --output type=local,dest=dist/local .
docker build --target artifacts -o - . | tar -tf - | sort | grep -qx README
cmp dist/local/app dist/app
docker run --rm release-build tar -C /out -cz . | tar -C dist -xz ./README
docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/dist:/dist" release-build sh -c 'echo written >/dist/by-user' 2>/dev/null || true

docker image rm release-build >/dev/null
echo OK
