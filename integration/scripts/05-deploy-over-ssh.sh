#!/usr/bin/env bash
# Deploys an image to a machine without a registry.
#   BASE_IMAGE DEPLOY_HOST
set -euo pipefail

IMAGE=acme/web
TAG="build-${BUILD_NUMBER:-17}"
SSH="ssh -o StrictHostKeyChecking=no -o BatchMode=yes deploy@$DEPLOY_HOST"

remote() { $SSH "$@"; }

docker build -q -t "$IMAGE:$TAG" -t "$IMAGE:latest" - >/dev/null <<EOF
FROM $BASE_IMAGE
RUN mkdir -p /srv && echo "release $TAG" > /srv/index.html
EXPOSE 80
CMD ["httpd", "-f", "-p", "80", "-h", "/srv"]
EOF

echo "--> transfer"
docker save "$IMAGE:$TAG" "$IMAGE:latest" | gzip | $SSH 'gunzip | docker load'
docker save "$IMAGE:$TAG" | bzip2 -1 | $SSH docker load -q | grep -qx "Loaded image: $IMAGE:$TAG"
docker save "$IMAGE:$TAG" -o image.tar
tar -xOf image.tar manifest.json | jq -re '.[0].RepoTags[0]' | grep -qx "$IMAGE:$TAG"
xz -T0 -1 image.tar
$SSH "docker load" <image.tar.xz
rm image.tar.xz

[ "$(remote docker inspect -f '{{.Id}}' "$IMAGE:$TAG" | tr -d '\r')" = "$(docker inspect -f '{{.Id}}' "$IMAGE:$TAG")" ] 2>/dev/null ||
  [ "$(remote "docker inspect -f '{{.Id}}' $IMAGE:$TAG")" = "$(docker inspect -f '{{.Id}}' "$IMAGE:$TAG")" ]

echo "--> restart"
$SSH bash -s <<EOF
set -eu
docker stop web 2>/dev/null && docker rm web 2>/dev/null || true
docker run -d --name web --restart unless-stopped --log-opt max-size=10m --log-opt max-file=3 -p 127.0.0.1:8088:80 $IMAGE:$TAG >/dev/null
for try in {1..100}; do
  curl -fsS http://127.0.0.1:8088/ | grep -q 'release $TAG' && break
  sleep 0.2
done
docker ps --filter name=web --format '{{.Names}} {{.Image}} {{.Ports}}'
EOF
[ "$(curl -s http://127.0.0.1:8088/)" = "release $TAG" ]
remote "docker ps -qf name=^web\$ -f status=running" | grep -Eqx '[0-9a-f]{12}'
[ -z "$(docker ps -aq)" ]   # nothing runs here

echo "--> roll back"
remote 'docker rm -f web' >/dev/null
remote "docker image prune -af" >/dev/null
remote 'docker ps -aq; docker images -q' | { ! grep .; }
docker rmi "$IMAGE:$TAG" "$IMAGE:latest" >/dev/null
echo OK
