#!/usr/bin/env bash
# Builds the image of this project, tests it, pushes it under its version, its commit and "latest",
# and checks that the registry hands out what was tested.
#   BASE_IMAGE REGISTRY REGISTRY_USER REGISTRY_PASSWORD
set -euo pipefail

IMAGE="${REGISTRY}/acme/shop"
VERSION="${VERSION:-1.4.2}"
COMMIT="${CI_COMMIT_SHORT_SHA:-0a1b2c3d}"
BUILD_DATE="$(date -u +%Y-%m-%dT%H:%M:%SZ)"

log() { echo "==> $*"; }

context="$(mktemp -d)"
export DOCKER_CONFIG="${context}/.docker"
cleanup() {
  docker logout "$REGISTRY" >/dev/null 2>&1 || true
  rm -rf "$context"
}
trap cleanup EXIT

mkdir -p "$context/app"
echo 'echo "shop $(cat /app/VERSION) on port ${PORT:-80}"' >"$context/app/shop.sh"
echo '**/*.log' >"$context/.dockerignore"
echo noise >"$context/app/debug.log"
cat >"$context/Dockerfile" <<'EOF'
# syntax=docker/dockerfile:1
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG VERSION=dev
ARG COMMIT
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
ENV PORT=8080
WORKDIR /app
RUN echo "${VERSION}" > VERSION
COPY --chmod=755 app/ .
EXPOSE 8080
ENTRYPOINT ["sh", "/app/shop.sh"]
EOF

log "Logging in"
echo "$REGISTRY_PASSWORD" | docker login --username "$REGISTRY_USER" --password-stdin "$REGISTRY" 2>/dev/null

log "Building"
docker pull "$IMAGE:latest" || true
DOCKER_BUILDKIT=1 docker build \
  --pull=false \
  --cache-from "$IMAGE:latest" \
  --build-arg BASE_IMAGE="$BASE_IMAGE" \
  --build-arg VERSION="$VERSION" \
  --build-arg COMMIT="$COMMIT" \
  --build-arg BUILDKIT_INLINE_CACHE=1 \
  --label "org.opencontainers.image.created=${BUILD_DATE}" \
  --iidfile "$context/image-id" \
  --tag "$IMAGE:$VERSION" \
  --tag "$IMAGE:$COMMIT" \
  --tag "$IMAGE:latest" \
  --progress plain \
  "$context"

IMAGE_ID="$(cat "$context/image-id")"
[[ "$IMAGE_ID" == sha256:* ]]
[[ "$(docker inspect --format='{{.Id}}' "$IMAGE:latest")" == "$IMAGE_ID" ]]
[[ "$(docker images -q --no-trunc "$IMAGE" | sort -u)" == "$IMAGE_ID" ]]

log "Testing"
out="$(docker run --rm -e PORT=9000 "$IMAGE:$COMMIT")"
[[ "$out" == "shop $VERSION on port 9000" ]] || { echo "unexpected: $out" >&2; exit 1; }
if docker run --rm --entrypoint test "$IMAGE:$COMMIT" -e /app/debug.log; then
  echo "debug.log should have been ignored" >&2
  exit 1
fi
test "$(docker inspect -f '{{ index .Config.Labels "org.opencontainers.image.version" }}' "$IMAGE:$VERSION")" = "$VERSION"
docker inspect -f '{{range $port, $_ := .Config.ExposedPorts}}{{println $port}}{{end}}' "$IMAGE:$VERSION" | grep -qx '8080/tcp'

log "Pushing"
for tag in "$VERSION" "$COMMIT" latest; do
  docker push "$IMAGE:$tag"
done
DIGEST="$(docker inspect --format='{{index .RepoDigests 0}}' "$IMAGE:$VERSION")"
echo "digest: $DIGEST"
[[ "$DIGEST" == "$IMAGE@sha256:"* ]]
pushed="$(docker push "$IMAGE:$VERSION" | awk '/digest:/ { print $3 }')"
[[ "$DIGEST" == *"$pushed" ]]

log "Verifying"
docker rmi $(docker images --filter "reference=$IMAGE" --format '{{.Repository}}:{{.Tag}}') >/dev/null
[[ -z "$(docker images -q "$IMAGE")" ]]
docker pull "$DIGEST" | tee "$context/pull.log"
grep -q 'Status: Downloaded newer image' "$context/pull.log"
[[ "$(docker image inspect --format '{{.Id}}' "$DIGEST")" == "$IMAGE_ID" ]]
[[ "$(docker run --rm "$DIGEST")" == "shop $VERSION on port 8080" ]]

docker logout "$REGISTRY" | grep -q 'Removing login credentials'
if docker pull -q "$IMAGE:latest" 2>/dev/null; then
  echo "the registry should have refused us" >&2
  exit 1
fi
docker rmi -f "$IMAGE_ID" >/dev/null
log "Done"
