#!/usr/bin/env bash
# Publishes images of several architectures under one name.
#   BASE_IMAGE REGISTRY REGISTRY_USER REGISTRY_PASSWORD
set -euo pipefail

NAME="$REGISTRY/acme/tool"
work=$(mktemp -d)
export DOCKER_CONFIG="$work/config" DOCKER_CLI_EXPERIMENTAL=enabled
trap 'docker manifest rm "$NAME:2.0" >/dev/null 2>&1 || true; docker images -q "$NAME" | sort -u | xargs -r docker rmi -f >/dev/null; rm -rf "$work"' EXIT
docker login -u "$REGISTRY_USER" -p "$REGISTRY_PASSWORD" "$REGISTRY" >/dev/null 2>&1
test "$(jq -r --arg r "$REGISTRY" '.auths[$r].auth' "$DOCKER_CONFIG/config.json" | base64 -d)" = "$REGISTRY_USER:$REGISTRY_PASSWORD"

cat >"$work/Dockerfile" <<'EOF'
FROM scratch
ARG TARGETARCH TARGETOS
COPY ${TARGETOS}-${TARGETARCH}/tool /tool
ENTRYPOINT ["/tool"]
EOF
for arch in amd64 arm64; do
  mkdir -p "$work/linux-$arch"
  echo "tool for $arch" >"$work/linux-$arch/tool"
  docker build -q --platform "linux/$arch" -t "$NAME:2.0-$arch" "$work" >/dev/null
  docker push -q "$NAME:2.0-$arch"
  [ "$(docker image inspect -f '{{.Os}}/{{.Architecture}}' "$NAME:2.0-$arch")" = "linux/$arch" ]
done

docker manifest create "$NAME:2.0" --amend "$NAME:2.0-amd64" --amend "$NAME:2.0-arm64"
docker manifest annotate "$NAME:2.0" "$NAME:2.0-arm64" --os linux --arch arm64 --variant v8
docker manifest inspect "$NAME:2.0" | jq -r '.manifests[].platform | .os + "/" + .architecture + "/" + (.variant // "")' | sort | tr '\n' ' ' | grep -qx 'linux/amd64/ linux/arm64/v8 '
digest="$(docker manifest push --purge "$NAME:2.0" | tail -n 1)"
[[ "$digest" == sha256:* ]]

# Both of them at once, by buildx
docker buildx create --name multi --use >/dev/null 2>&1 || docker buildx use multi || true
docker buildx build --platform linux/amd64,linux/arm64 --tag "$NAME:2.1" --tag "$NAME:edge" --push --metadata-file "$work/metadata.json" "$work" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
docker manifest inspect "$NAME:2.1" | jq -e '[.manifests[].platform.architecture] | contains(["amd64", "arm64"])' >/dev/null
pushed="$(jq -r '."containerimage.digest"' "$work/metadata.json")"
[[ "$pushed" == sha256:* ]]
docker manifest inspect "$NAME@$pushed" | diff - <(docker manifest inspect "$NAME:edge")
docker manifest create "$NAME:stable" "$NAME:2.0-amd64" "$NAME:2.0-arm64" >/dev/null
docker manifest push -p "$NAME:stable" | tail -n 1 | grep -q '^sha256:'

# What others get
docker images -q "$NAME" | sort -u | xargs -r docker rmi -f >/dev/null
for arch in amd64 arm64; do
  docker pull -q --platform "linux/$arch" "$NAME:stable" >/dev/null
  id="$(docker create --platform "linux/$arch" "$NAME:stable")"
  docker cp "$id:/tool" - | tar -xO | grep -qx "tool for $arch"
  docker rm "$id" >/dev/null
  docker rmi "$NAME:stable" >/dev/null
done
docker pull -q "$NAME@$digest" >/dev/null
docker logout "$REGISTRY" >/dev/null
echo OK
